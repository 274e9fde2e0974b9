# The operator, which is the model fetcher too. BASE is any image with Python >= 3.11, its venv module and
# CA certificates, by the name of python3.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    UV_PROJECT_ENVIRONMENT=/opt/venv \
    UV_NO_CACHE=1
# A mirror of PyPI: --build-arg PIP_INDEX_URL=https://…
ARG PIP_INDEX_URL=
WORKDIR /src
# The dependencies first, so that a change of code alone does not install them again.
COPY pyproject.toml uv.lock ./
COPY scripts/uv scripts/
RUN scripts/uv sync-locked --no-default-groups --no-install-project
COPY README.md LICENSE ./
COPY operator operator
RUN scripts/uv sync-locked --no-default-groups --no-editable
# The Kubernetes client has a class for every API group (54 MB), imported when used; the operator sends plain JSON and
# uses none. The root file system is read-only, so bytecode is written here: of the 1,500 generated model classes only
# for those that are imported.
RUN rm -r /opt/venv/lib/python3.*/site-packages/kubernetes/client/api \
        /opt/venv/lib/python3.*/site-packages/kubernetes/aio/client/api \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '/kubernetes/(aio/)?client/models/' \
        /opt/venv/lib \
    && PYTHONDONTWRITEBYTECODE= /opt/venv/bin/python -c 'import tfserving_operator.__main__'

FROM ${BASE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tfserving-operator" \
      org.opencontainers.image.description="Kubernetes operator for fleets of TensorFlow Serving" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# PYTHONSAFEPATH: never import from the working directory, whatever a pod mounts there.
# LOGNAME: kopf asks for the user's name, and a bare UID has none.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    LOGNAME=tfserving-operator \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/venv /opt/venv
USER 65532:65532
WORKDIR /
ENTRYPOINT ["python", "-m", "tfserving_operator"]
