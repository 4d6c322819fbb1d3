//! Enums that newer writers may extend.
//!
//! Reports and directives outlive the release that wrote them: an agent may be
//! as old as the image on its card. A value this release does not know must
//! neither break a watch nor be lost when the object is written back, so it is
//! kept verbatim in `Unrecognized`. Spec fields that users write are ordinary
//! closed enums instead: there the API server should refuse what is not known.

/// Declares an enum that is a string on the wire and keeps unknown values.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$vmeta:meta])* $variant:ident ),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $( $(#[$vmeta])* $variant, )+
            /// A value of a newer release, kept as it came.
            Unrecognized(String),
        }

        impl $name {
            /// Every value this release knows, in declaration order.
            pub const KNOWN: &'static [$name] = &[$( $name::$variant ),+];

            /// The wire form.
            pub fn as_str(&self) -> &str {
                match self {
                    $( $name::$variant => stringify!($variant), )+
                    $name::Unrecognized(text) => text,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $( stringify!($variant) => $name::$variant, )+
                    other => $name::Unrecognized(other.to_owned()),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                Ok(Self::from(text.as_str()))
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let known: Vec<&str> = $name::KNOWN.iter().map($name::as_str).collect();
                schemars::json_schema!({
                    "type": "string",
                    "maxLength": 64,
                    // The doc comment of a field replaces a description, but not a title.
                    "title": format!("Known values: {}.", known.join(", ")),
                })
            }

            fn inline_schema() -> bool {
                true
            }
        }
    };
}

pub(crate) use open_enum;
