//! Statuses and sentences.
use crate::sys;
use std::ffi::{CStr, CString};
use std::fmt;
use std::os::raw::c_char;

pub type Result<T> = std::result::Result<T, Error>;

/// A call that failed: `status` is one of `sys::AMMPL_E_*`, `message` says what, where and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub status: sys::ammpl_status,
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Statuses from 0 up are no failures.  The sentence is this thread's, so it is taken at once.
pub(crate) fn check(status: sys::ammpl_status) -> Result<sys::ammpl_status> {
    if status >= 0 {
        return Ok(status);
    }
    let message = unsafe { text(sys::ammpl_last_error()) }.unwrap_or_default();
    Err(Error { status, message })
}

/// What the wrapper itself refuses.
pub(crate) fn argument(message: String) -> Error {
    Error { status: sys::AMMPL_E_ARGUMENT, message }
}

pub(crate) fn shape(message: String) -> Error {
    Error { status: sys::AMMPL_E_SHAPE, message }
}

/// A copy of a string that the library lends; None for NULL.
pub(crate) unsafe fn text(pointer: *const c_char) -> Option<String> {
    (!pointer.is_null()).then(|| CStr::from_ptr(pointer).to_string_lossy().into_owned())
}

/// A string as C wants it.  One that holds a NUL byte is no argument that C could see whole.
pub(crate) fn c_string(text: &str) -> Result<CString> {
    CString::new(text)
        .map_err(|_| Error { status: sys::AMMPL_E_ARGUMENT, message: format!("{text:?} has a NUL byte in it") })
}

/// Strings, and the list of pointers to them that lives as long as they do.
pub(crate) struct Strings {
    _owned: Vec<CString>,
    pub list: Vec<*const c_char>,
}

impl Strings {
    pub fn new<S: AsRef<str>>(texts: &[S]) -> Result<Strings> {
        let owned = texts.iter().map(|t| c_string(t.as_ref())).collect::<Result<Vec<_>>>()?;
        let list = owned.iter().map(|t| t.as_ptr()).collect();
        Ok(Strings { _owned: owned, list })
    }
}
