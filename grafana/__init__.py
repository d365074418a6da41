"""What people look at and what reaches them: rules, notifications, dashboards."""
