//! The frozen CLIP.
use crate::context::{raw_config, Config, Context, Device, Shared};
use crate::dataset::Image;
use crate::error::{c_string, check, text, Result};
use crate::sys;
use std::ptr;
use std::sync::Arc;

/// Weights, tokenizer and preprocessing: immutable, used by any number of threads at once.
pub struct Model {
    pub(crate) raw: *mut sys::ammpl_model,
    pub(crate) shared: Arc<Shared>,
}

unsafe impl Send for Model {}
unsafe impl Sync for Model {}

impl Drop for Model {
    fn drop(&mut self) {
        unsafe { sys::ammpl_model_destroy(self.raw) }
    }
}

impl Model {
    /// A .safetensors file or a folder that holds one, for the CPU.
    pub fn load(ctx: &Context, path: &str, config: Option<&Config>) -> Result<Model> {
        Model::load_on(&ctx.find_device("cpu")?, path, config)
    }

    /// The same for a device.
    pub fn load_on(device: &Device, path: &str, config: Option<&Config>) -> Result<Model> {
        let (mut raw, shared) = (ptr::null_mut(), device.shared.clone());
        let path = c_string(path)?;
        check(unsafe {
            sys::ammpl_model_load_file(shared.raw, device.raw, path.as_ptr(), raw_config(config), &mut raw)
        })?;
        Ok(Model { raw, shared })
    }

    /// For functions of [`sys`] that are not wrapped; the object stays this one's.
    pub fn as_raw(&self) -> *mut sys::ammpl_model {
        self.raw
    }

    /// A size by `sys::AMMPL_QUERY_*`.
    pub fn get_int(&self, query: sys::ammpl_query) -> Result<i64> {
        let mut value = 0;
        check(unsafe { sys::ammpl_model_get_int(self.raw, query, &mut value) })?;
        Ok(value)
    }

    pub fn get_string(&self, query: sys::ammpl_query) -> Result<String> {
        let mut value = ptr::null();
        check(unsafe { sys::ammpl_model_get_string(self.raw, query, &mut value) })?;
        Ok(unsafe { text(value) }.unwrap_or_default())
    }

    /// E, the length of features.
    pub fn embed_width(&self) -> usize {
        self.size(sys::AMMPL_QUERY_EMBED_WIDTH)
    }

    /// l, the width of token embeddings.
    pub fn text_width(&self) -> usize {
        self.size(sys::AMMPL_QUERY_TEXT_WIDTH)
    }

    /// W, the width of image tokens.
    pub fn image_width(&self) -> usize {
        self.size(sys::AMMPL_QUERY_IMAGE_WIDTH)
    }

    /// CLS and the patches, 1 + P.
    pub fn image_rows(&self) -> usize {
        let grid = self.size(sys::AMMPL_QUERY_GRID);
        1 + grid * grid
    }

    /// Numbers in one preprocessed picture, 3*R*R.
    pub fn pixel_count(&self) -> usize {
        let side = self.size(sys::AMMPL_QUERY_IMAGE_SIZE);
        3 * side * side
    }

    /// 0 where the tower was not loaded.
    fn size(&self, query: sys::ammpl_query) -> usize {
        self.get_int(query).unwrap_or(0) as usize
    }

    /// [3, R, R]
    pub fn preprocess(&self, image: &Image) -> Result<Vec<f32>> {
        let mut pixels = vec![0.0; self.pixel_count()];
        check(unsafe { sys::ammpl_model_preprocess(self.raw, image.raw, pixels.as_mut_ptr(), pixels.len()) })?;
        Ok(pixels)
    }

    pub fn tokenize(&self, text: &str) -> Result<Vec<i32>> {
        let text = c_string(text)?;
        let mut need = 0;
        let status = unsafe { sys::ammpl_model_tokenize(self.raw, text.as_ptr(), ptr::null_mut(), 0, &mut need) };
        if status != sys::AMMPL_E_BUFFER {
            check(status)?;
        }
        let mut ids = vec![0; need];
        check(unsafe { sys::ammpl_model_tokenize(self.raw, text.as_ptr(), ids.as_mut_ptr(), ids.len(), &mut need) })?;
        Ok(ids)
    }
}
