//! What is learned, and what updates it.
use crate::context::{raw_config, Config, Shared};
use crate::error::{c_string, check, text, Error, Result, Strings};
use crate::model::Model;
use crate::sys;
use std::mem::size_of;
use std::ptr;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    pub shape: Vec<usize>,
    pub trainable: bool,
    pub group: usize,
}

/// Learnable tensors, their gradients, class names.
pub struct Prompt {
    pub(crate) raw: *mut sys::ammpl_prompt,
    _shared: Arc<Shared>,
}

unsafe impl Send for Prompt {}
unsafe impl Sync for Prompt {}

impl Drop for Prompt {
    fn drop(&mut self) {
        unsafe { sys::ammpl_prompt_destroy(self.raw) }
    }
}

impl Prompt {
    /// At its initial values; `method` is one of `sys::AMMPL_METHOD_*`.
    pub fn new<S: AsRef<str>>(
        model: &Model,
        method: sys::ammpl_method,
        class_names: &[S],
        config: Option<&Config>,
    ) -> Result<Prompt> {
        let names = Strings::new(class_names)?;
        let mut raw = ptr::null_mut();
        check(unsafe {
            sys::ammpl_prompt_create(
                model.raw,
                method,
                names.list.as_ptr(),
                names.list.len(),
                raw_config(config),
                &mut raw,
            )
        })?;
        Ok(Prompt { raw, _shared: model.shared.clone() })
    }

    pub fn load(model: &Model, path: &str, config: Option<&Config>) -> Result<Prompt> {
        let mut raw = ptr::null_mut();
        check(unsafe {
            sys::ammpl_prompt_load_file(model.raw, c_string(path)?.as_ptr(), raw_config(config), &mut raw)
        })?;
        Ok(Prompt { raw, _shared: model.shared.clone() })
    }

    /// For functions of [`sys`] that are not wrapped; the object stays this one's.
    pub fn as_raw(&self) -> *mut sys::ammpl_prompt {
        self.raw
    }

    pub fn save(&self, path: &str, overwrite: bool) -> Result<()> {
        check(unsafe { sys::ammpl_prompt_save_file(self.raw, c_string(path)?.as_ptr(), overwrite.into()) }).map(drop)
    }

    pub fn rebind_classes<S: AsRef<str>>(&mut self, class_names: &[S]) -> Result<()> {
        let names = Strings::new(class_names)?;
        check(unsafe { sys::ammpl_prompt_rebind_classes(self.raw, names.list.as_ptr(), names.list.len()) }).map(drop)
    }

    pub fn class_count(&self) -> usize {
        unsafe { sys::ammpl_prompt_class_count(self.raw) }
    }

    pub fn class_names(&self) -> Vec<String> {
        (0..self.class_count()).filter_map(|i| unsafe { text(sys::ammpl_prompt_class_name(self.raw, i)) }).collect()
    }

    pub fn option(&self, name: &str) -> Option<String> {
        unsafe { text(sys::ammpl_prompt_option(self.raw, c_string(name).ok()?.as_ptr())) }
    }

    pub fn tensors(&self) -> Result<Vec<TensorInfo>> {
        (0..unsafe { sys::ammpl_prompt_tensor_count(self.raw) }).map(|i| self.describe(i)).collect()
    }

    pub fn tensor(&self, name: &str) -> Result<Vec<f32>> {
        self.read(name, sys::ammpl_prompt_tensor_read)
    }

    pub fn set_tensor(&mut self, name: &str, value: &[f32]) -> Result<()> {
        let i = self.find(name)?;
        check(unsafe { sys::ammpl_prompt_tensor_write(self.raw, i, value.as_ptr(), value.len()) }).map(drop)
    }

    pub fn gradient(&self, name: &str) -> Result<Vec<f32>> {
        self.read(name, sys::ammpl_prompt_gradient_read)
    }

    pub fn set_gradient(&mut self, name: &str, value: &[f32]) -> Result<()> {
        let i = self.find(name)?;
        check(unsafe { sys::ammpl_prompt_gradient_write(self.raw, i, value.as_ptr(), value.len()) }).map(drop)
    }

    pub fn zero_gradients(&mut self) -> Result<()> {
        check(unsafe { sys::ammpl_prompt_zero_gradients(self.raw) }).map(drop)
    }

    fn find(&self, name: &str) -> Result<usize> {
        let i = unsafe { sys::ammpl_prompt_tensor_find(self.raw, c_string(name)?.as_ptr()) };
        usize::try_from(i)
            .map_err(|_| Error { status: sys::AMMPL_E_RANGE, message: format!("the prompt has no tensor {name}") })
    }

    fn describe(&self, i: usize) -> Result<TensorInfo> {
        let mut info: sys::ammpl_tensor_info = unsafe { std::mem::zeroed() };
        info.struct_size = size_of::<sys::ammpl_tensor_info>() as u32;
        check(unsafe { sys::ammpl_prompt_tensor_describe(self.raw, i, &mut info) })?;
        Ok(TensorInfo {
            name: unsafe { text(info.name) }.unwrap_or_default(),
            shape: info.shape[..info.rank as usize].iter().map(|&n| n as usize).collect(),
            trainable: info.trainable != 0,
            group: info.group as usize,
        })
    }

    fn read(
        &self,
        name: &str,
        function: unsafe extern "C" fn(*const sys::ammpl_prompt, usize, *mut f32, usize) -> sys::ammpl_status,
    ) -> Result<Vec<f32>> {
        let i = self.find(name)?;
        let mut value = vec![0.0; self.describe(i)?.shape.iter().product()];
        check(unsafe { function(self.raw, i, value.as_mut_ptr(), value.len()) })?;
        Ok(value)
    }
}

/// SGD or AdamW over the trainable tensors of one prompt.
pub struct Optimizer {
    raw: *mut sys::ammpl_optimizer,
    prompt: *const sys::ammpl_prompt,
    _shared: Arc<Shared>,
}

unsafe impl Send for Optimizer {}

impl Drop for Optimizer {
    fn drop(&mut self) {
        unsafe { sys::ammpl_optimizer_destroy(self.raw) }
    }
}

impl Optimizer {
    pub fn new(prompt: &Prompt, config: Option<&Config>) -> Result<Optimizer> {
        let mut raw = ptr::null_mut();
        check(unsafe { sys::ammpl_optimizer_create(prompt.raw, raw_config(config), &mut raw) })?;
        Ok(Optimizer { raw, prompt: prompt.raw, _shared: prompt._shared.clone() })
    }

    /// One update from the gradients of the prompt that it was made for.
    pub fn step(&mut self, prompt: &mut Prompt) -> Result<()> {
        if !ptr::eq(prompt.raw, self.prompt) {
            return Err(Error {
                status: sys::AMMPL_E_ARGUMENT,
                message: "the optimizer was made for another prompt".into(),
            });
        }
        check(unsafe { sys::ammpl_optimizer_step(self.raw) }).map(drop)
    }

    pub fn set_epoch(&mut self, epoch: i64) -> Result<()> {
        check(unsafe { sys::ammpl_optimizer_set_epoch(self.raw, epoch) }).map(drop)
    }

    /// At `step` of `steps`, which lies in `epoch`.
    pub fn set_step(&mut self, epoch: i64, step: i64, steps: i64) -> Result<()> {
        check(unsafe { sys::ammpl_optimizer_set_step(self.raw, epoch, step, steps) }).map(drop)
    }

    pub fn learning_rate(&self, group: usize) -> f64 {
        unsafe { sys::ammpl_optimizer_learning_rate(self.raw, group) }
    }
}
