//! Pure decisions per power domain.
