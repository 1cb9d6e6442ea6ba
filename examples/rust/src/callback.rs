//! Rust closures as progress callbacks.
use crate::session::Progress;
use crate::sys;
use std::any::Any;
use std::os::raw::c_void;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

/// A closure, and the panic that it ended with: it must not run through C, so it stops the run and goes on behind it.
pub(crate) struct Callback<'a> {
    closure: &'a mut dyn FnMut(&Progress) -> bool,
    panic: Option<Box<dyn Any + Send>>,
}

impl<'a> Callback<'a> {
    pub fn new(closure: &'a mut dyn FnMut(&Progress) -> bool) -> Callback<'a> {
        Callback { closure, panic: None }
    }

    pub fn user(&mut self) -> *mut c_void {
        self as *mut Callback as *mut c_void
    }

    /// To be called when the run is over.
    pub fn finish(self) {
        if let Some(panic) = self.panic {
            resume_unwind(panic);
        }
    }
}

/// The C side: `user` is a Callback.
pub(crate) unsafe extern "C" fn run(user: *mut c_void, progress: *const sys::ammpl_progress) -> i32 {
    let callback = &mut *(user as *mut Callback);
    match catch_unwind(AssertUnwindSafe(|| (callback.closure)(&*progress))) {
        Ok(go_on) => i32::from(!go_on),
        Err(panic) => {
            callback.panic = Some(panic);
            1
        }
    }
}
