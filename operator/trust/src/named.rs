//! Which of the signatures that a `DpuImage` names is which of those that the site's agent passes on.

use lockstep_crds::image::ImageSignature;
use lockstep_crds::report::StoredSignature;
use url::Url;

/// How an artefact of a registry is written.
const OCI: &str = "oci://";

/// The first that is named and was not passed on, by where it is kept.
pub(crate) fn withheld(named: &[ImageSignature], told: &[StoredSignature]) -> Option<String> {
    let is_told = |one: &ImageSignature| {
        let places: Vec<String> = sources(one).map(shown).collect();
        let mut told = told.iter();
        told.any(|told| places.contains(&told.source))
    };
    let missing = named.iter().find(|one| !is_told(one))?;
    Some(sources(missing).next().map(shown).unwrap_or_default())
}

fn sources(signature: &ImageSignature) -> impl Iterator<Item = &str> {
    let files = signature.dsse.iter().flat_map(|file| &file.sources);
    let artefacts = signature.cosign.iter().flat_map(|beside| &beside.sources);
    files.chain(artefacts).map(String::as_str)
}

/// As the site's agent writes it: a URL without what may be secret in it, an artefact without the
/// port that every registry has.
fn shown(source: &str) -> String {
    let (url, is_artefact) = match source.strip_prefix(OCI) {
        Some(rest) => (Url::parse(&format!("https://{rest}")), true),
        None => (Url::parse(source), false),
    };
    let Ok(mut url) = url else {
        return source.to_owned();
    };
    url.set_query(None);
    url.set_fragment(None);
    let text = String::from(url);
    let text = match text.strip_prefix("https://") {
        Some(rest) if is_artefact => format!("{OCI}{rest}"),
        Some(_) | None => text,
    };
    text.chars().take(1024).collect()
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn places_are_as_the_sites_agent_writes_them() {
        for (named, told) in [
            (
                "https://H.test:443/a.dsse?token=1#x",
                "https://h.test/a.dsse",
            ),
            (
                "http://192.0.2.9:8080/a.dsse",
                "http://192.0.2.9:8080/a.dsse",
            ),
            (
                "oci://Registry.test:443/cards/os:1",
                "oci://registry.test/cards/os:1",
            ),
            (
                "oci://registry.test:5000/os@sha256:00",
                "oci://registry.test:5000/os@sha256:00",
            ),
            ("https://h.test:99999/a", "https://h.test:99999/a"),
        ] {
            assert_eq!(shown(named), told);
        }
    }
}
