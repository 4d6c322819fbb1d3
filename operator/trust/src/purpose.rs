//! What an image is signed to be: a system, firmware of one component, or a service of one name; and what
//! goes into its file slots. Bytes that are good as one thing are not good as another.

use std::collections::BTreeMap;

use lockstep_crds::DpuImageSpec;
use lockstep_crds::image::ImageKind;

use crate::artefact::digest_of;
use crate::refusal::{Refusal, quoted};

/// What stands for nothing in a message.
const NONE: &str = "none";

/// What an image is, as signed; by default an operating system without files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purpose {
    /// As what cards get it.
    pub kind: ImageKind,
    /// What firmware it is.
    pub component: Option<String>,
    /// What service it is.
    pub service: Option<String>,
    /// Digests, `sha256:…`, of the templates of its files, by slot.
    pub files: BTreeMap<String, String>,
}

impl Purpose {
    /// # Errors
    /// If the `DpuImage` makes something else of the bytes.
    pub(crate) fn agrees(&self, image: &DpuImageSpec) -> Result<(), Refusal> {
        let name = |kind: ImageKind| format!("{kind:?}");
        let text = |said: &Option<String>| said.as_deref().unwrap_or(NONE).to_owned();
        let fields = [
            (
                "kind",
                self.kind == image.kind,
                name(self.kind),
                name(image.kind),
            ),
            (
                "component",
                self.component == image.component,
                text(&self.component),
                text(&image.component),
            ),
            (
                "service",
                self.service == image.service,
                text(&self.service),
                text(&image.service),
            ),
        ];
        for (field, is_same, signed, said) in fields {
            if !is_same {
                return Err(Refusal::OtherPurpose {
                    field,
                    signed: quoted(&signed),
                    said,
                });
            }
        }
        let files = image.files.iter();
        let files: BTreeMap<_, _> = files
            .map(|file| (file.slot.clone(), digest_of(file.template.as_bytes())))
            .collect();
        let slots = self.files.keys().chain(files.keys());
        let mut other = slots.filter(|slot| self.files.get(*slot) != files.get(*slot));
        other.next().map_or(Ok(()), |slot| {
            let of =
                |files: &BTreeMap<_, _>| files.get(slot).map_or(NONE.to_owned(), String::clone);
            Err(Refusal::OtherFile {
                slot: quoted(slot),
                signed: quoted(&of(&self.files)),
                said: of(&files),
            })
        })
    }
}
