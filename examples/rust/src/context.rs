//! Contexts and options.
use crate::error::{c_string, check, text, Result};
use crate::sys;
use std::os::raw::{c_char, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::Arc;

type Log = dyn Fn(sys::ammpl_level, &str) + Send + Sync;

/// The C context and the log that it calls.  Everything made in a context holds this, so the log outlives them all.
pub(crate) struct Shared {
    pub raw: *mut sys::ammpl_context,
    log: Option<Box<Box<Log>>>,
}

// Calls on a shared context are tagged [T] or [R]; what is tagged [S] (log, threads) is done before it is shared.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Drop for Shared {
    fn drop(&mut self) {
        unsafe { sys::ammpl_context_destroy(self.raw) }
    }
}

unsafe extern "C" fn forward(user: *mut c_void, level: sys::ammpl_level, message: *const c_char) {
    let log = &*(user as *const Box<Log>);
    // A panic must not run through C; there is nobody to tell it to.
    let _ = catch_unwind(AssertUnwindSafe(|| log(level, &text(message).unwrap_or_default())));
}

/// How a context is to be: the settings that must stand before it is shared.
#[derive(Default)]
pub struct Builder {
    threads: Option<i32>,
    backends: Option<Option<String>>,
    log: Option<(sys::ammpl_level, Box<Log>)>,
}

impl Builder {
    /// Threads that compute, 1 to 256; 0, the default, is as many as processors.
    pub fn threads(mut self, threads: i32) -> Builder {
        self.threads = Some(threads);
        self
    }

    /// Looks for backends in `folder`, or where they are installed.  One that cannot be used is no error: [`Context::find_device`] says why.
    pub fn backends(mut self, folder: Option<&str>) -> Builder {
        self.backends = Some(folder.map(str::to_owned));
        self
    }

    /// Messages of at least `min` (`sys::AMMPL_LEVEL_*`) go to `log`, from any thread.
    pub fn log(
        mut self,
        min: sys::ammpl_level,
        log: impl Fn(sys::ammpl_level, &str) + Send + Sync + 'static,
    ) -> Builder {
        self.log = Some((min, Box::new(log)));
        self
    }

    pub fn build(self) -> Result<Context> {
        let mut raw = ptr::null_mut();
        check(unsafe { sys::ammpl_context_create(ptr::null(), &mut raw) })?;
        let mut shared = Shared { raw, log: None };
        if let Some((min, log)) = self.log {
            let user = &**shared.log.insert(Box::new(log)) as *const Box<Log> as *mut c_void;
            check(unsafe { sys::ammpl_context_set_log(raw, min, Some(forward), user) })?;
        }
        if let Some(threads) = self.threads {
            check(unsafe { sys::ammpl_context_set_threads(raw, threads) })?;
        }
        if let Some(folder) = self.backends {
            let folder = folder.as_deref().map(c_string).transpose()?;
            let folder = folder.as_ref().map_or(ptr::null(), |f| f.as_ptr());
            check(unsafe { sys::ammpl_context_scan_backends(raw, folder) })?;
        }
        Ok(Context { shared: Arc::new(shared) })
    }
}

/// Log, threads, devices.
pub struct Context {
    pub(crate) shared: Arc<Shared>,
}

impl Context {
    pub fn new() -> Result<Context> {
        Builder::default().build()
    }

    pub fn builder() -> Builder {
        Builder::default()
    }

    /// For functions of [`sys`] that are not wrapped; the object stays this one's.
    pub fn as_raw(&self) -> *mut sys::ammpl_context {
        self.shared.raw
    }

    /// What a model computes on: "cpu"; "cuda", "cuda:1" ... where [`Builder::backends`] found it.
    pub fn find_device(&self, name: &str) -> Result<Device> {
        let raw = unsafe { sys::ammpl_device_find(self.shared.raw, c_string(name)?.as_ptr()) };
        if raw.is_null() {
            check(sys::AMMPL_E_BACKEND)?;
        }
        Ok(Device { raw, shared: self.shared.clone() })
    }

    /// Bytes that everything made in this context holds now, and held at most so far.
    pub fn memory(&self) -> (u64, u64) {
        let (mut now, mut peak) = (0, 0);
        unsafe { sys::ammpl_context_memory(self.shared.raw, &mut now, &mut peak) };
        (now, peak)
    }
}

/// The CPU or a GPU; the context's own.
pub struct Device {
    pub(crate) raw: *const sys::ammpl_device,
    pub(crate) shared: Arc<Shared>,
}

/// Options by name or number; what is not set stands at its default.
pub struct Config {
    raw: *mut sys::ammpl_config,
    _shared: Arc<Shared>,
}

unsafe impl Send for Config {}
unsafe impl Sync for Config {}

impl Drop for Config {
    fn drop(&mut self) {
        unsafe { sys::ammpl_config_destroy(self.raw) }
    }
}

impl Config {
    pub fn new(ctx: &Context) -> Result<Config> {
        let mut raw = ptr::null_mut();
        check(unsafe { sys::ammpl_config_create(ctx.shared.raw, &mut raw) })?;
        Ok(Config { raw, _shared: ctx.shared.clone() })
    }

    /// For functions of [`sys`] that are not wrapped; the object stays this one's.
    pub fn as_raw(&self) -> *mut sys::ammpl_config {
        self.raw
    }

    /// Any option by name, its value as text.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        check(unsafe { sys::ammpl_config_set_text(self.raw, c_string(name)?.as_ptr(), c_string(value)?.as_ptr()) })
            .map(drop)
    }

    pub fn set_int(&mut self, id: sys::ammpl_option, value: i64) -> Result<()> {
        check(unsafe { sys::ammpl_config_set_int(self.raw, id, value) }).map(drop)
    }

    pub fn set_float(&mut self, id: sys::ammpl_option, value: f64) -> Result<()> {
        check(unsafe { sys::ammpl_config_set_float(self.raw, id, value) }).map(drop)
    }

    pub fn set_string(&mut self, id: sys::ammpl_option, value: &str) -> Result<()> {
        check(unsafe { sys::ammpl_config_set_string(self.raw, id, c_string(value)?.as_ptr()) }).map(drop)
    }

    pub fn get_int(&self, id: sys::ammpl_option) -> Result<i64> {
        let mut value = 0;
        check(unsafe { sys::ammpl_config_get_int(self.raw, id, &mut value) })?;
        Ok(value)
    }

    pub fn get_float(&self, id: sys::ammpl_option) -> Result<f64> {
        let mut value = 0.0;
        check(unsafe { sys::ammpl_config_get_float(self.raw, id, &mut value) })?;
        Ok(value)
    }

    pub fn get_string(&self, id: sys::ammpl_option) -> Result<String> {
        let mut value = ptr::null();
        check(unsafe { sys::ammpl_config_get_string(self.raw, id, &mut value) })?;
        Ok(unsafe { text(value) }.unwrap_or_default())
    }
}

/// NULL, which means the defaults, where there is none.
pub(crate) fn raw_config(config: Option<&Config>) -> *const sys::ammpl_config {
    config.map_or(ptr::null(), |c| c.raw as *const _)
}
