//! Documents of office programs, as packages of XML.

mod chart;
pub(crate) mod docx;
pub(crate) mod epub;
pub(crate) mod pptx;
pub(crate) mod relations;
