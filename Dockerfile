# Images of the operator and of the site agent: one static binary each, no shell, no user but 65532.
#
# The targets `operator` and `agent` pack binaries that lie in the workspace, where this command puts
# them. No daemon is needed: buildah packs them as well, and equal binaries give equal images.
#
#   RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked \
#     --target x86_64-unknown-linux-gnu --target-dir target/static -p lockstep-operator -p lockstep-agent
#   docker build --target operator -t lockstep/operator:0.1.0 .
#   docker build --target agent -t lockstep/agent:0.1.0 .
#
# The targets `operator-compiled` and `agent-compiled` compile in a container instead.

FROM rust:1.95-bookworm AS compiled
WORKDIR /src
COPY . .
RUN RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked \
      --target x86_64-unknown-linux-gnu --target-dir /build -p lockstep-operator -p lockstep-agent

FROM scratch AS operator-compiled
COPY --from=compiled /build/x86_64-unknown-linux-gnu/release/lockstep-operator /lockstep-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/lockstep-operator"]
CMD ["run"]

FROM scratch AS agent-compiled
COPY --from=compiled /build/x86_64-unknown-linux-gnu/release/lockstep-agent /lockstep-agent
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/lockstep-agent"]
CMD ["site", "--config=/etc/lockstep/site.yaml"]

FROM scratch AS operator
COPY target/static/x86_64-unknown-linux-gnu/release/lockstep-operator /lockstep-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/lockstep-operator"]
CMD ["run"]

FROM scratch AS agent
COPY target/static/x86_64-unknown-linux-gnu/release/lockstep-agent /lockstep-agent
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/lockstep-agent"]
CMD ["site", "--config=/etc/lockstep/site.yaml"]
