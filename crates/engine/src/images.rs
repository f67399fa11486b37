//! Images of OCI and Docker that arrive for a build. This process keeps the bytes; what is in them is the business of a jailed step, which
//! says it in JSON.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex},
    time::Duration,
};

use ringfence_jail::{layer::image::ImageReport, proto::LayerWork};
use ringfence_model::{
    ApiError, Code, LayerDigest,
    api::{ImageAnswer, ImageRequest},
};

use crate::{
    engine::Engine,
    error::Failure,
    export::{Chunks, said},
    template::Recipe,
};

/// Bytes of what a step says of an image: layers and texts are bounded there.
const REPORT_BYTES_MAX: u64 = 1 << 20;

/// How long one waits for its build.
const PATIENCE: Duration = Duration::from_secs(900);

/// Images that wait at once; each takes as much of the disk as its archive has.
const WAITING_MAX: usize = 4;

const TIMEOUT: Duration = Duration::from_secs(600);

/// Images that have arrived and wait for their build, each under a name that is given out once.
#[derive(Debug, Default)]
pub(crate) struct Images {
    waiting: Mutex<HashMap<String, Waiting>>,
}

/// An image whose archive has no name any more: it goes with its descriptor.
#[derive(Debug)]
struct Waiting {
    report: ImageReport,
    file: Arc<OwnedFd>,
}

impl Images {
    fn take(&self, name: &str) -> Option<Waiting> {
        self.waiting.lock().expect("nothing panics under this lock").remove(name)
    }

    /// The recipe over the image that was sent for it, and the image, if it begins with one. Steps that download share the host's
    /// network, and over an image they are programs of whoever made it: only an operator who says so (`downloads`) lets them.
    ///
    /// # Errors
    /// One of both is missing, or the recipe downloads and may not.
    pub(crate) fn taken(
        &self,
        recipe: Recipe,
        name: Option<&str>,
        downloads: bool,
    ) -> Result<(Recipe, Option<Arc<OwnedFd>>), ApiError> {
        let wrong = |text: &str| Err(ApiError::new(Code::InvalidArgument, text));
        if recipe.oci.is_some() && !downloads && (recipe.lock.is_some() || recipe.node.is_some()) {
            let text = "`lock` and `node` download with the programs of the image, which then share this host's network, its loopback \
                 too: put the packages into the image, or, if you trust whoever made it, set `image_downloads = true` below \
                 [templates] in config.toml and restart the daemon";
            return Err(ApiError::new(Code::PermissionDenied, text));
        }
        match (&recipe.oci, name) {
            (None, None) => Ok((recipe, None)),
            (None, Some(_)) => wrong("the recipe does not begin with an image, and yet one was sent for it"),
            (Some(_), None) => wrong(
                "the recipe begins with an image (`oci`), which is sent before: `ringfence template build DIRECTORY` does both",
            ),
            (Some(_), Some(name)) => {
                let Some(Waiting { report, file }) = self.take(name) else {
                    return wrong("the image is not there any more; send it again");
                };
                let over = recipe.over(report).map_err(|e| ApiError::new(Code::InvalidArgument, e.to_string()))?;
                Ok((over, Some(file)))
            }
        }
    }
}

impl Engine {
    /// Takes an image in and says what it is.
    ///
    /// # Errors
    /// It is none, or none that can be used here; nothing is left of it then.
    pub(crate) async fn do_image(&self, request: ImageRequest, chunks: Chunks) -> Result<ImageAnswer, Failure> {
        self.admit()?;
        let file = Arc::new(self.keep(chunks).await?.open()?);
        let work = LayerWork::Image { tag: request.tag };
        let step = self.inner.builder.layers(work, Some(file.as_fd()), TIMEOUT).await?;
        let refused = |why: String| ApiError::new(Code::InvalidArgument, format!("the image is refused: {why}"));
        let bytes = said(step, REPORT_BYTES_MAX).await.map_err(|error| match error.code {
            Code::InvalidArgument => refused(error.message),
            _ => error,
        })?;
        let report: ImageReport =
            serde_json::from_slice(&bytes).map_err(|e| refused(format!("what was said of it cannot be read: {e}")))?;
        let name = hex::encode(rand::random::<[u8; 16]>());
        let answer = ImageAnswer {
            success: true,
            image: name.clone(),
            digest: report.digest.clone(),
            platform: report.platform.clone(),
            layers: u32::try_from(report.layers.len()).unwrap_or(u32::MAX),
        };
        {
            let mut waiting = self.inner.images.waiting.lock().expect("nothing panics under this lock");
            if waiting.len() >= WAITING_MAX {
                let text = format!("{WAITING_MAX} images wait for their builds already; try again in a minute");
                return Err(ApiError::new(Code::InsufficientResources, text).into());
            }
            waiting.insert(name.clone(), Waiting { report, file });
        }
        let engine = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            drop(engine.inner.images.take(&name));
        });
        Ok(answer)
    }

    /// Looks at what was built over an image: which languages there are. Without an image the recipe says it.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(crate) async fn look_into(&self, recipe: &mut Recipe, layers: &[LayerDigest]) -> Result<(), Failure> {
        const FOUND_BYTES_MAX: u64 = 4096;
        let Some(image) = &mut recipe.image else { return Ok(()) };
        let work = LayerWork::Find(layers.iter().rev().cloned().collect());
        let step = self.inner.builder.layers(work, None, TIMEOUT).await?;
        let said = said(step, FOUND_BYTES_MAX).await?;
        image.found =
            serde_json::from_slice(&said).map_err(|_| ApiError::internal("the template could not be looked at"))?;
        Ok(())
    }
}
