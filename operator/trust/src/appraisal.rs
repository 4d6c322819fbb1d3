//! What the signatures of an image come to under a policy.

use lockstep_crds::report::{ArtefactSignature, ArtefactSignatures, StoredSignature};
use lockstep_crds::{DpuImageSpec, ImageFits, ImageRequirement, ImageRules};

use crate::artefact::Artefact;
use crate::cosign::confirmed;
use crate::dsse::Envelope;
use crate::named::{is_read, withheld};
use crate::refusal::Refusal;
use crate::signer::Signers;
use crate::statement::Statement;

/// Signatures of one digest that a report has room for, whichever objects name them.
const MOST_TOLD: usize = 8;

/// Whether an image may be believed to be what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The policy asks for no signature.
    NotAsked,
    /// Signed by this signer of the policy.
    Signed(String),
    /// Everything there is has been looked at, and nothing counts; why.
    Refused(String),
    /// Not everything has been looked at; why.
    NotKnown(String),
}

/// What is to be held against a card before the image goes onto it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraisal {
    /// Whether the image is trusted.
    pub trust: Trust,
    /// The security version that counts.
    pub security_version: i64,
    /// The cards it is made for; each must hold.
    pub fits: Vec<ImageFits>,
}

/// Judges an image by what the policy asks. `told` is what the site's report says of these
/// bytes: `None` as long as it says nothing.
pub fn appraise(
    rules: Option<&ImageRules>,
    image: &DpuImageSpec,
    told: Option<&[StoredSignature]>,
) -> Appraisal {
    let mut found = Appraisal {
        trust: Trust::NotAsked,
        security_version: image.security_version.unwrap_or_default(),
        fits: image.fits.iter().cloned().collect(),
    };
    let signed = rules.filter(|rules| rules.require == ImageRequirement::Signed);
    let Some(rules) = signed else { return found };
    let signers = Signers::new(&rules.signers);
    let told = told.unwrap_or_default();
    let mut good: Vec<(String, Statement)> = Vec::new();
    let mut refused = None;
    for signature in told {
        for found in found_in(signature, &signers, image) {
            match found {
                Ok(statement) => good.push(statement),
                Err(refusal) => {
                    refused.get_or_insert_with(|| format!("{}: {refusal}", signature.source));
                }
            }
        }
    }
    // What one of them says that was not read, or not yet, may be a limit.
    let unread = told.iter().find(|signature| is_missing(signature, told));
    let unread = unread.map(not_read).or_else(|| not_passed_on(image, told));
    found.trust = match (good.first(), unread) {
        (Some(_), Some(why)) => Trust::NotKnown(why),
        (Some((signer, _)), None) => Trust::Signed(signer.clone()),
        (None, _) => untrusted(image, told, refused),
    };
    let lowest = good.iter().map(|(_, said)| said.security_version).min();
    found.security_version = lowest.unwrap_or_default();
    let signed_fits = good.into_iter().filter_map(|(_, said)| said.fits);
    found.fits.extend(signed_fits);
    found
}

type Found = Result<(String, Statement), Refusal>;

fn found_in(signature: &StoredSignature, signers: &Signers, image: &DpuImageSpec) -> Vec<Found> {
    let envelope = signature.envelope.iter();
    let mut found: Vec<_> = envelope
        .map(|envelope| statement(envelope, signers, image))
        .collect();
    if let Some(told) = &signature.artefact {
        found.extend(found_beside(told, signers, image));
    }
    found
}

/// Beside an index there may be signatures of the manifest in it too.
fn found_beside(told: &ArtefactSignatures, signers: &Signers, image: &DpuImageSpec) -> Vec<Found> {
    if told.signatures.is_empty() {
        return vec![Err(Refusal::Unsigned)];
    }
    let artefact = match Artefact::of(&told.manifests, &image.digest) {
        Ok(artefact) => artefact,
        Err(refusal) => return vec![Err(refusal)],
    };
    let inner = told.manifests.get(1..).filter(|inner| !inner.is_empty());
    let inner = inner.and_then(|inner| Artefact::of(inner, &image.digest).ok());
    let found = |one: &ArtefactSignature| {
        let outer = confirmed(one, &artefact, signers, image);
        match (outer, &inner) {
            (Err(refusal), Some(inner)) if refusal.is_of_other_bytes() => {
                confirmed(one, inner, signers, image)
            }
            (found, _) => found,
        }
    };
    told.signatures.iter().map(found).collect()
}

fn statement(envelope: &str, signers: &Signers, image: &DpuImageSpec) -> Found {
    let envelope = Envelope::parse(envelope.as_bytes())?;
    let (signer, payload_type, payload) = envelope.opened(signers)?;
    let said = Statement::parse(payload_type, payload)?;
    said.confirms(image)?;
    Ok((signer.name.clone(), said))
}

fn untrusted(image: &DpuImageSpec, told: &[StoredSignature], refused: Option<String>) -> Trust {
    if image.signatures.is_empty() && told.is_empty() {
        return Trust::Refused("the DpuImage names no signature".to_owned());
    }
    let partly = told.iter().find(|one| one.reason.is_some());
    if let Some(missing) = told.iter().find(|one| is_missing(one, told)) {
        return Trust::NotKnown(not_read(missing));
    }
    // A document that nobody can read must keep no key that was taken away in force.
    match (partly, &refused) {
        (Some(partly), None) => return Trust::NotKnown(not_read(partly)),
        (Some(partly), Some(refused)) => {
            return Trust::Refused(format!("{refused}; {}", not_read(partly)));
        }
        (None, _) => {}
    }
    if let Some(why) = not_passed_on(image, told) {
        return Trust::NotKnown(why);
    }
    Trust::Refused(refused.unwrap_or_else(|| "no signature counts".to_owned()))
}

fn not_passed_on(image: &DpuImageSpec, told: &[StoredSignature]) -> Option<String> {
    let place = withheld(&image.signatures, told)?;
    Some(format!(
        "the site's agent has not passed on the signature at {place}, of at most {MOST_TOLD} for one digest"
    ))
}

/// What could not be read for one object may have been read for another, as with an account.
fn is_missing(one: &StoredSignature, told: &[StoredSignature]) -> bool {
    let mut others = told.iter();
    !is_read(one) && !others.any(|other| is_read(other) && other.source == one.source)
}

fn not_read(told: &StoredSignature) -> String {
    let reason = told.reason.as_deref().unwrap_or("NotRead");
    let message = told.message.as_deref().unwrap_or("no detail");
    format!("the site's agent could not get a signature ({reason}): {message}")
}
