//! Facts of the local machine under an injectable root.
