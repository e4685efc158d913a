//! Documents of office programs, as packages of XML.

pub(crate) mod docx;
pub(crate) mod epub;
pub(crate) mod pptx;
mod relations;
