FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY jobqueue ./jobqueue
RUN pip wheel --no-cache-dir --disable-pip-version-check --wheel-dir /wheels ".[speed]" \
    && python -m venv --without-pip /opt/jobqueue \
    && pip --python /opt/jobqueue/bin/python install --no-cache-dir --no-index /wheels/*.whl

FROM python:3.12-slim
RUN groupadd --gid 10001 jobqueue \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /nonexistent jobqueue
COPY --from=build /opt/jobqueue /opt/jobqueue
ENV PATH=/opt/jobqueue/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /srv/jobqueue
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["jobqueue", "health"]
ENTRYPOINT ["jobqueue"]
CMD ["serve", "--host", "0.0.0.0"]
