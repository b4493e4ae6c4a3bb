# What docker-compose.yml runs of our own: `signet`, which is the program for every role, and `postfix`.

FROM rust:1.95-bookworm AS builder
WORKDIR /source
COPY . .
# What cargo fetched and built is kept between builds, outside the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,sharing=locked \
    cargo build --locked --release --bin signet \
    && install -D target/release/signet /made/signet

# The same Debian as the builder's: the program is linked against its C library.
FROM debian:bookworm-slim AS signet
# The certificates by which servers with TLS are trusted; with them comes openssl, which docker/setup needs.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates openssl \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 signet \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin signet \
    && install -d -o signet -g signet -m 0700 /etc/signet /etc/signet/keys /var/lib/signet
COPY --from=builder /made/signet /usr/local/bin/signet
COPY --chmod=0555 docker/health docker/setup /usr/local/bin/
USER 10001:10001
ENTRYPOINT ["signet"]

# Its master is root, and its other processes are the user postfix: that is how postfix is built.
FROM debian:bookworm-slim AS postfix
RUN echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postfix \
    && rm -rf /var/lib/apt/lists/*
COPY --chmod=0644 docker/postfix/main.cf docker/postfix/master.cf /etc/postfix/
COPY --chmod=0555 docker/health /usr/local/bin/
ENTRYPOINT ["postfix", "start-fg"]
