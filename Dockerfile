# The sidecar's image: one static binary and nothing else.
#
#   docker build -t etcd-sidecar .                  builds the binary and packs it (the last stage)
#   docker build --target packed --build-arg BINARY=PATH .
#                                                   packs a static binary already built, PATH in the build context
#                                                   (default <architecture>/etcd-sidecar); pulls nothing, needs no registry

FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends protobuf-compiler libprotobuf-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Naming the target keeps crt-static away from build scripts and procedural macros.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile image -p etcd-sidecar --target "$target" \
    && install -D "target/$target/image/etcd-sidecar" /out/etcd-sidecar

FROM scratch AS base
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="etcd-sidecar" \
      org.opencontainers.image.description="Runs beside etcd on a control-plane node for kubectl-etcd" \
      org.opencontainers.image.source="https://github.com/kubectl-etcd/kubectl-etcd" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# uid 0 owns etcd's keys on kubeadm nodes; what else it may do is the pod's to say.
USER 0:0
ENTRYPOINT ["/etcd-sidecar"]

FROM base AS packed
ARG TARGETARCH
ARG BINARY=${TARGETARCH}/etcd-sidecar
COPY --chmod=0755 ${BINARY} /etcd-sidecar

FROM base AS sidecar
COPY --from=build /out/etcd-sidecar /etcd-sidecar
