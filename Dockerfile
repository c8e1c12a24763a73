FROM rust:1.95-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
# The dependencies by themselves, with an empty program: this layer lasts until the manifest or the lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs && cargo build --release --locked

# Queries are checked against .sqlx; migrations and config become part of the binary.
ENV SQLX_OFFLINE=true
COPY migrations migrations
COPY config config
COPY .sqlx .sqlx
COPY src src
# COPY keeps times: sources older than the empty program would pass for built.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked --bin mainstay

# All that the program needs at run time: itself, the libraries that the loader names (glibc's resolver is part of
# libc), the certificates, and that names are looked up in /etc/hosts first.
RUN mkdir -p /image/etc/ssl/certs \
 && cp target/release/mainstay /image/ \
 && ldd /image/mainstay | grep -o '/[^ )]*' | xargs cp -L --parents -t /image \
 && cp -L /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && echo 'hosts: files dns' > /image/etc/nsswitch.conf

FROM scratch
LABEL org.opencontainers.image.title="mainstay"
COPY --from=build /image/ /
# Beside this it needs DATABASE_URL and APP__AUTH__MASTER_KEY. Without the line it would take the public key of development.
ENV APP_ENVIRONMENT=production
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["/mainstay", "healthcheck"]
ENTRYPOINT ["/mainstay"]
CMD ["serve"]
