//! Which of the signatures that a `DpuImage` names is which of those that the site's agent passes on.

use lockstep_crds::image::ImageSignature;
use lockstep_crds::report::StoredSignature;
use url::Url;

/// How an artefact of a registry is written.
const OCI: &str = "oci://";

/// The first that is named and was not passed on, by where it is kept. What was passed on counts for
/// one that is named, and the same content counts once, wherever it is said to come from.
pub(crate) fn withheld(named: &[ImageSignature], told: &[StoredSignature]) -> Option<String> {
    let mut contents: Vec<&StoredSignature> = Vec::new();
    for one in told {
        let is_known = contents.iter().any(|other| is_same(other, one));
        if !is_known || !is_read(one) {
            contents.push(one);
        }
    }
    let mut taken = vec![None; contents.len()];
    for (index, one) in named.iter().enumerate() {
        // The agent reads the same files once, however often they are named.
        if !named[..index].contains(one)
            && !is_matched(index, named, told, &contents, &mut taken, &mut Vec::new())
        {
            return Some(sources(one).next().map(shown).unwrap_or_default());
        }
    }
    None
}

/// Finds a content for one that is named, if need be by giving another one of those another content.
fn is_matched(
    index: usize,
    named: &[ImageSignature],
    told: &[StoredSignature],
    contents: &[&StoredSignature],
    taken: &mut [Option<usize>],
    tried: &mut Vec<usize>,
) -> bool {
    for (at, content) in contents.iter().enumerate() {
        let mut same = told.iter().filter(|one| is_same(one, content));
        if tried.contains(&at) || !same.any(|one| is_of(one, &named[index])) {
            continue;
        }
        tried.push(at);
        let is_free = match taken[at] {
            None => true,
            Some(other) => is_matched(other, named, told, contents, taken, tried),
        };
        if is_free {
            taken[at] = Some(index);
            return true;
        }
    }
    false
}

fn is_same(one: &StoredSignature, other: &StoredSignature) -> bool {
    let of = |one: &StoredSignature| (one.envelope.clone(), one.artefact.clone());
    if is_read(one) {
        of(one) == of(other)
    } else {
        one == other
    }
}

/// Whether it was had, envelope or artefact.
pub(crate) fn is_read(told: &StoredSignature) -> bool {
    told.envelope.is_some() || told.artefact.is_some()
}

/// Whether it is said to come from there, and is of that kind as far as it was read.
fn is_of(told: &StoredSignature, named: &ImageSignature) -> bool {
    let is_its_kind = if named.dsse.is_some() {
        told.artefact.is_none()
    } else {
        told.envelope.is_none()
    };
    is_its_kind && sources(named).any(|source| shown(source) == told.source)
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
