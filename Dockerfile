# The monitor, and the shipped configurations that `monitor configure` fits to the place.
#
#     docker build -t leverage-monitor .
#
# All that is installed comes from requirements.lock and is checked against its hashes; of it the image keeps
# what the program needs, not what its tests need.
FROM python:3.12.11-slim-bookworm AS build
WORKDIR /build
COPY requirements.lock pyproject.toml ./
RUN python -m pip download --quiet --no-cache-dir --only-binary :all: --require-hashes -r requirements.lock -d wheels \
 && python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > wanted \
 && python -m venv --without-pip /opt/monitor \
 && python -m pip --python /opt/monitor install --quiet --no-cache-dir --no-index --find-links wheels -r wanted

FROM python:3.12.11-slim-bookworm
LABEL org.opencontainers.image.title="leverage-monitor" \
      org.opencontainers.image.licenses="Apache-2.0"
# State belongs to the monitor's user; the effective configurations to the user that Prometheus' and
# Alertmanager's images run as. A new volume takes its owner from the folder that it is mounted on.
RUN groupadd --gid 10001 monitor \
 && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin monitor \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/leverage-monitor \
 && install -d -o 65534 -g 65534 /etc/leverage-monitor/effective
COPY --from=build /opt/monitor /opt/monitor
COPY LICENSE prometheus.yml /etc/leverage-monitor/
COPY grafana /etc/leverage-monitor/grafana
COPY monitor /opt/monitor/program/monitor
ENV PATH=/opt/monitor/bin:$PATH \
    PYTHONPATH=/opt/monitor/program \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MONITOR_STATE_DIR=/var/lib/leverage-monitor \
    MONITOR_LISTEN=0.0.0.0:9650
USER 10001:10001
WORKDIR /var/lib/leverage-monitor
EXPOSE 9650
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=4 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9650/-/healthy', timeout=4)"]
ENTRYPOINT ["python", "-m", "monitor"]
CMD ["run"]
