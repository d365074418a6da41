"""The dashboards as code: layout here, names, units, help and thresholds from the monitor itself."""
