//! Ragflare.
