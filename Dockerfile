# The server and the command line `orchestra`, in an image without a shell, a package manager or root.
#
#   docker build --tag orchestra-memory .
#
# The same source gives the same program: the dependencies are those of Cargo.lock, the toolchain is that of
# rust-toolchain.toml, and no path or date of the builder is in it. For an image that is the same to the byte give the
# digests of the two base images, as in --build-arg BUILD_IMAGE=docker.io/library/rust@sha256:…
ARG BUILD_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /source
COPY . .
ENV CARGO_INCREMENTAL=0 \
    CARGO_TARGET_DIR=/target \
    RUSTFLAGS="--remap-path-prefix=/source=/orchestra --remap-path-prefix=/usr/local/cargo=/cargo -C strip=symbols" \
    SOURCE_DATE_EPOCH=0
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    cargo build --release --locked --package orchestra-api \
    && install -D /target/release/orchestra /image/usr/local/bin/orchestra \
    && install --directory --mode=0700 /image/data

FROM ${RUNTIME_IMAGE}
COPY --from=build --chown=65532:65532 /image/data /data
COPY --from=build /image/usr /usr
# Others reach a container: the server starts when there are API keys in /data, or where it is told to do without.
ENV ORCHESTRA_DATA=/data \
    ORCHESTRA_LISTEN=0.0.0.0:7070 \
    ORCHESTRA_LOG_FORMAT=json
USER 65532:65532
VOLUME /data
EXPOSE 7070
ENTRYPOINT ["/usr/local/bin/orchestra"]
CMD ["serve"]
