//! The policy itself, and its exceptions.

/// A crate that must not be built in.
pub(super) struct Ban {
    pub(super) name: &'static str,
    /// How its version begins; empty for any.
    pub(super) version: &'static str,
    /// Crates that may bring it in nevertheless.
    pub(super) only_below: &'static [&'static str],
    pub(super) because: &'static str,
}

/// A policy.
pub(super) struct Rules {
    pub(super) licences: &'static [&'static str],
    /// Crate, additional licence, reason.
    pub(super) licence_exceptions: &'static [(&'static str, &'static str, &'static str)],
    pub(super) banned: &'static [Ban],
    /// Direct dependencies that are built in more than one version, with the reason.
    pub(super) duplicates: &'static [(&'static str, &'static str)],
    /// Our crates without I/O.
    pub(super) pure: &'static [&'static str],
    /// What gives a crate I/O.
    pub(super) io: &'static [&'static str],
}

const ONE_TLS: &str = "TLS is rustls with aws-lc-rs, and a second provider makes rustls panic";

/// This workspace's.
pub(super) const OURS: Rules = Rules {
    licences: &[
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "Unicode-3.0",
        "Zlib",
    ],
    licence_exceptions: &[(
        "webpki-root-certs",
        "CDLA-Permissive-2.0",
        "a list of certificates under a permissive data licence; only clients without a CA of their own read it",
    )],
    banned: &[
        Ban {
            name: "ring",
            version: "",
            only_below: &[],
            because: ONE_TLS,
        },
        Ban {
            name: "openssl-sys",
            version: "",
            only_below: &[],
            because: ONE_TLS,
        },
        Ban {
            name: "native-tls",
            version: "",
            only_below: &[],
            because: ONE_TLS,
        },
        Ban {
            name: "chrono",
            version: "",
            // They judge CEL rules of the CRDs in tests and clients; our own times are jiff's.
            only_below: &["cel", "kube-cel"],
            because: "times are jiff's, as in k8s-openapi",
        },
        Ban {
            name: "reqwest",
            version: "0.12.",
            only_below: &[],
            because: "two HTTP clients have two connection pools and two TLS settings",
        },
    ],
    duplicates: &[
        (
            "base64",
            "k8s-openapi still asks for the older one, hyper-util already for the newer",
        ),
        ("thiserror", "cel asks for version 1"),
    ],
    pure: &[
        "lockstep-crds",
        "lockstep-configuration",
        "lockstep-planner",
        "lockstep-trust",
    ],
    io: &[
        "async-std",
        "axum",
        "hyper",
        "kube-client",
        "mio",
        "reqwest",
        "rustix",
        "rustls",
        "smol",
        "socket2",
        "tokio",
    ],
};
