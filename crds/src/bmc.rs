//! How a BMC is reached and trusted: the part of a spec shared by `Dpu` and `DpuHost`.

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// The Redfish service of one card or one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.address.startsWith('http://') == (self.tls.trust == 'PlainHttp')")
        .message("an http:// address needs tls.trust PlainHttp, and PlainHttp needs an http:// address"),
    validation = Rule::new("(self.tls.trust == 'Ca') == has(self.tls.caConfigMapRef)")
        .message("tls.caConfigMapRef is required with tls.trust Ca and forbidden otherwise"),
    validation = Rule::new("(self.tls.trust == 'PinnedKey') == has(self.tls.pinnedKeySha256)")
        .message("tls.pinnedKeySha256 is required with tls.trust PinnedKey and forbidden otherwise")
)]
pub struct BmcEndpoint {
    /// Base URL of the Redfish service, without a path: `https://10.0.0.7`.
    /// The site agent dials only networks named in its own configuration.
    #[schemars(length(min = 8, max = 255), regex(pattern = r"^https?://[^/\s@]+$"))]
    pub address: String,
    /// Path of the ComputerSystem that stands for this machine, for a BMC that
    /// serves several, such as `/redfish/v1/Systems/1`. Without it the agent
    /// takes the system with the UUID in `identity`, else the only one.
    #[schemars(length(max = 255), regex(pattern = r"^/redfish/v1/Systems/[^\s]+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_path: Option<String>,
    /// Secret of type `kubernetes.io/basic-auth` in the same namespace.
    pub credentials_ref: LocalRef,
    /// How the BMC proves that it is the right one on the wire.
    pub tls: BmcTls,
}

/// Trust in a BMC's TLS certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BmcTls {
    /// `Ca` verifies against a bundle, `PinnedKey` against one public key.
    /// `NoVerification` and `PlainHttp` are explicit and show as a condition.
    pub trust: TlsTrust,
    /// ConfigMap whose key `ca.crt` holds the PEM bundle, for `Ca`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map_ref: Option<LocalRef>,
    /// SHA-256 of the certificate's SubjectPublicKeyInfo in lower-case hex, for `PinnedKey`.
    #[schemars(length(max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_key_sha256: Option<String>,
}

/// The ways to trust a BMC's channel, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsTrust {
    /// The certificate chains to the given bundle and names the address.
    Ca,
    /// The certificate's public key is the pinned one.
    PinnedKey,
    /// Encrypted, but nobody checks by whom.
    NoVerification,
    /// Not even encrypted.
    PlainHttp,
}

/// A name in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the object.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// What makes a machine this machine. Proved in the same BMC session before every change (S13).
///
/// A spec must give at least one of the two (a rule of `Dpu` and `DpuHost`); a report may
/// hold neither, for a BMC that shows neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineIdentity {
    /// SMBIOS system UUID as the BMC's ComputerSystem shows it.
    #[schemars(
        length(max = 36),
        regex(pattern = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_uuid: Option<String>,
    /// Serial number as the BMC's ComputerSystem shows it.
    #[schemars(length(min = 1, max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
}

/// Where a BMC's address leads, without what makes no difference: two addresses with one place
/// are one BMC. Scheme and default port do not tell BMCs apart, nor do the ways to write a host.
pub fn place(address: &str) -> String {
    let address = address.trim();
    let Ok(url) = Url::parse(address) else {
        return address.to_lowercase();
    };
    let host = match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.').to_lowercase(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => match ip.to_ipv4_mapped() {
            Some(ip) => ip.to_string(),
            None => format!("[{ip}]"),
        },
        None => return address.to_lowercase(),
    };
    match url.port_or_known_default() {
        None | Some(80 | 443) => host,
        Some(port) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bmc_has_one_place() {
        for (place_of, addresses) in [
            (
                "10.0.0.7",
                &[
                    "http://10.0.0.7",
                    "https://10.0.0.7",
                    "https://10.0.0.7:443/",
                    "https://[::ffff:10.0.0.7]",
                    "https://[::ffff:a00:7]:443",
                ][..],
            ),
            (
                "bmc.example",
                &[
                    "https://BMC.example.",
                    "http://bmc.example:80",
                    "https://bmc.example",
                ],
            ),
            (
                "[fd00::7]",
                &["https://[fd00:0::7]", "https://[FD00::7]:443"],
            ),
            (
                "10.0.0.7:8000",
                &["http://10.0.0.7:8000", "https://10.0.0.7:8000"],
            ),
            ("no url", &["No URL"]),
        ] {
            for address in addresses {
                assert_eq!(place(address), place_of, "{address}");
            }
        }
    }
}
