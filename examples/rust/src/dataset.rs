//! Pictures, and labelled pictures.
use crate::context::{Context, Shared};
use crate::error::{c_string, check, text, Result, Strings};
use crate::sys;
use std::os::raw::c_void;
use std::ptr;
use std::sync::Arc;

/// 8-bit RGB pixels.
pub struct Image {
    pub(crate) raw: *mut sys::ammpl_image,
    _shared: Arc<Shared>,
}

unsafe impl Send for Image {}
unsafe impl Sync for Image {}

impl Drop for Image {
    fn drop(&mut self) {
        unsafe { sys::ammpl_image_destroy(self.raw) }
    }
}

impl Image {
    pub fn load(ctx: &Context, path: &str) -> Result<Image> {
        let mut raw = ptr::null_mut();
        check(unsafe { sys::ammpl_image_load_file(ctx.shared.raw, c_string(path)?.as_ptr(), &mut raw) })?;
        Ok(Image { raw, _shared: ctx.shared.clone() })
    }

    /// The bytes of a JPEG or PNG file.
    pub fn decode(ctx: &Context, bytes: &[u8]) -> Result<Image> {
        let mut raw = ptr::null_mut();
        check(unsafe {
            sys::ammpl_image_load_memory(ctx.shared.raw, bytes.as_ptr() as *const c_void, bytes.len(), &mut raw)
        })?;
        Ok(Image { raw, _shared: ctx.shared.clone() })
    }

    /// `rgb` has `height` rows of `width` pixels of 3 bytes.
    pub fn from_pixels(ctx: &Context, rgb: &[u8], width: usize, height: usize) -> Result<Image> {
        assert_eq!(rgb.len(), 3 * width * height, "rgb has 3 * width * height bytes");
        let (width, height) = (i32::try_from(width).unwrap_or(i32::MAX), i32::try_from(height).unwrap_or(i32::MAX));
        let mut raw = ptr::null_mut();
        check(unsafe { sys::ammpl_image_from_pixels(ctx.shared.raw, rgb.as_ptr(), width, height, 0, &mut raw) })?;
        Ok(Image { raw, _shared: ctx.shared.clone() })
    }

    /// For functions of [`sys`] that are not wrapped; the object stays this one's.
    pub fn as_raw(&self) -> *mut sys::ammpl_image {
        self.raw
    }

    pub fn width(&self) -> usize {
        unsafe { sys::ammpl_image_width(self.raw) as usize }
    }

    pub fn height(&self) -> usize {
        unsafe { sys::ammpl_image_height(self.raw) as usize }
    }

    /// [height, width, 3].
    pub fn pixels(&self) -> &[u8] {
        unsafe { std::slice::from_raw_parts(sys::ammpl_image_pixels(self.raw), 3 * self.width() * self.height()) }
    }
}

/// Class names, and pictures or files with a label each.
pub struct Dataset {
    pub(crate) raw: *mut sys::ammpl_dataset,
    shared: Arc<Shared>,
}

unsafe impl Send for Dataset {}
unsafe impl Sync for Dataset {}

impl Drop for Dataset {
    fn drop(&mut self) {
        unsafe { sys::ammpl_dataset_destroy(self.raw) }
    }
}

impl Dataset {
    pub fn new<S: AsRef<str>>(ctx: &Context, class_names: &[S]) -> Result<Dataset> {
        let names = Strings::new(class_names)?;
        let mut raw = ptr::null_mut();
        check(unsafe { sys::ammpl_dataset_create(ctx.shared.raw, names.list.as_ptr(), names.list.len(), &mut raw) })?;
        Ok(Dataset { raw, shared: ctx.shared.clone() })
    }

    /// One folder per class; `part` is "train", "val" or "test".
    pub fn open_folder(ctx: &Context, dir: &str, part: &str) -> Result<Dataset> {
        let mut raw = ptr::null_mut();
        check(unsafe {
            sys::ammpl_dataset_open_folder(ctx.shared.raw, c_string(dir)?.as_ptr(), c_string(part)?.as_ptr(), &mut raw)
        })?;
        Ok(Dataset { raw, shared: ctx.shared.clone() })
    }

    /// For functions of [`sys`] that are not wrapped; the object stays this one's.
    pub fn as_raw(&self) -> *mut sys::ammpl_dataset {
        self.raw
    }

    pub fn add_image(&mut self, image: &Image, label: usize) -> Result<()> {
        check(unsafe { sys::ammpl_dataset_add_image(self.raw, image.raw, i32::try_from(label).unwrap_or(-1)) })
            .map(drop)
    }

    pub fn add_file(&mut self, path: &str, label: usize) -> Result<()> {
        check(unsafe {
            sys::ammpl_dataset_add_file(self.raw, c_string(path)?.as_ptr(), i32::try_from(label).unwrap_or(-1))
        })
        .map(drop)
    }

    pub fn len(&self) -> usize {
        unsafe { sys::ammpl_dataset_count(self.raw) }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn class_names(&self) -> Vec<String> {
        let count = unsafe { sys::ammpl_dataset_class_count(self.raw) };
        (0..count).filter_map(|i| unsafe { text(sys::ammpl_dataset_class_name(self.raw, i)) }).collect()
    }

    pub fn label(&self, i: usize) -> Option<usize> {
        usize::try_from(unsafe { sys::ammpl_dataset_label(self.raw, i) }).ok()
    }

    pub fn load_image(&self, i: usize) -> Result<Image> {
        let mut raw = ptr::null_mut();
        check(unsafe { sys::ammpl_dataset_load_image(self.raw, i, &mut raw) })?;
        Ok(Image { raw, _shared: self.shared.clone() })
    }

    /// At most `shots` pictures of each class (0: all).
    pub fn select_shots(&self, shots: i32, seed: u64) -> Result<Dataset> {
        let mut raw = ptr::null_mut();
        check(unsafe { sys::ammpl_dataset_select_shots(self.raw, shots, seed, &mut raw) })?;
        Ok(Dataset { raw, shared: self.shared.clone() })
    }
}
