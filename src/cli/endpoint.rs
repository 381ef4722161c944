//! From endpoint options to a server that answers.

use std::time::Duration;

use anyhow::{anyhow, bail};

use crate::backend::http::{
    Address, Api, ConnectError, HttpBackend, HttpOptions, Patience, Secret,
};

use super::args::{BackendKind, CacheType, EndpointApi, GpuLayers, Kv, Matmul, ModelArgs, Switch};
use super::backend::template_choice;
use super::exit::usage;

/// Where the access token is taken from. It is sent to the server, and neither kept nor printed.
const TOKEN: &str = "AMEND_API_KEY";
/// Requests in flight, where nothing else is said.
const DEFAULT_PARALLEL: usize = 16;
/// Wait before a request is tried again for the first time.
const BACK_OFF: Duration = Duration::from_millis(500);

/// Connects to the server at `url`.
pub fn connect(
    url: &str,
    args: &ModelArgs,
    deterministic: bool,
) -> anyhow::Result<Box<HttpBackend>> {
    refuse_others(args, deterministic).map_err(usage)?;
    let address = Address::parse(url).map_err(|error| usage(anyhow!("--endpoint: {error}")))?;
    let token = match std::env::var(TOKEN) {
        Ok(text) => Secret::new(&text).map_err(|error| usage(anyhow!("{TOKEN}: {error}")))?,
        Err(std::env::VarError::NotPresent) => None,
        Err(std::env::VarError::NotUnicode(_)) => bail!(usage(anyhow!("{TOKEN} is not UTF-8"))),
    };
    let template = template_choice(&args.template)?;
    let options = HttpOptions {
        address,
        model: (args.model != "default").then(|| args.model.clone()),
        token,
        parallel: args.parallel.map_or(DEFAULT_PARALLEL, usize::from),
        patience: Patience {
            timeout: Duration::from_secs(args.endpoint.endpoint_timeout.into()),
            retries: args.endpoint.endpoint_retries,
            backoff: BACK_OFF,
        },
        api: match args.endpoint.endpoint_api {
            EndpointApi::Auto => Api::Auto,
            EndpointApi::OpenAi => Api::OpenAi,
            EndpointApi::LlamaServer => Api::LlamaServer,
        },
        kwargs: template.kwargs,
        date: template.date.unwrap_or_else(|| jiff::Zoned::now().date()),
    };
    match HttpBackend::connect(&options) {
        Ok(backend) => Ok(Box::new(backend)),
        Err(error @ ConnectError::Model(_)) => Err(usage(error)),
        Err(ConnectError::Backend(error)) => Err(error.into()),
    }
}

/// Refuses options about a model in this process: the server has its own.
fn refuse_others(args: &ModelArgs, deterministic: bool) -> anyhow::Result<()> {
    if deterministic {
        bail!(
            "--deterministic needs a model in this process: what else a server computes is not known"
        );
    }
    let given = [
        ("--backend", args.backend != BackendKind::Llama),
        ("--script", args.script.is_some()),
        ("--hf-repo", args.hf_repo.is_some()),
        ("--offline", args.offline),
        ("--ctx-size", args.ctx_size.is_some()),
        ("--threads", args.threads.is_some()),
        ("--batch-size", args.batch_size != 512),
        ("--ubatch-size", args.ubatch_size != 512),
        (
            "--n-gpu-layers",
            args.n_gpu_layers
                .is_some_and(|layers| layers != GpuLayers::Auto),
        ),
        ("--kv", args.kv != Kv::Auto),
        ("--kv-cells", args.kv_cells.is_some()),
        ("--lookup", args.lookup != Switch::Auto),
        ("--matmul", args.matmul != Matmul::Auto),
        ("--lora", args.lora.any()),
        ("--flash-attn", args.flash_attn != Switch::Auto),
        ("--cache-type-k", args.cache_type_k != CacheType::F16),
        ("--cache-type-v", args.cache_type_v != CacheType::F16),
        ("--chat-template", args.template.chat_template.is_some()),
        (
            "--chat-template-file",
            args.template.chat_template_file.is_some(),
        ),
    ];
    if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
        bail!(
            "{option} has no effect with --endpoint: the server decides; leave it out, or start the server with it"
        );
    }
    Ok(())
}
