//! The offline twin of Workers AI and Vectorize, as a program. See `--help`.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use ragflare_local::ai::Ai;
use ragflare_local::args::Args;
use ragflare_local::server::{Twin, serve};
use ragflare_local::{Error, Result, VectorStore};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(tracing::Level::INFO)
        .init();
    match run(&Args::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(start(args));
    // A generation may still be running on a blocking thread; nothing waits for it.
    runtime.shutdown_background();
    result
}

async fn start(args: &Args) -> Result<()> {
    // Bound first: a taken port must not cost the time to load models.
    let listener = TcpListener::bind(&args.listen)
        .await
        .map_err(|e| Error::Config(format!("cannot listen on {}: {e}", args.listen)))?;
    let stop = stop_signal(args.exit_with_stdin)?;
    tokio::pin!(stop);
    let loading = {
        let args = args.clone();
        tokio::task::spawn_blocking(move || load(&args))
    };
    let twin = tokio::select! {
        loaded = loading => loaded.map_err(|e| Error::Config(format!("loading failed: {e}")))??,
        () = &mut stop => return Ok(()),
    };
    let address = listener.local_addr()?;
    println!("ragflare-local listening on http://{address}");
    serve(Arc::new(twin), listener, stop).await
}

fn load(args: &Args) -> Result<Twin> {
    let started = Instant::now();
    std::fs::create_dir_all(&args.data)?;
    let file = args.data.join("vectorize.redb");
    let store = VectorStore::open(&file, Duration::from_millis(args.mutation_delay_ms))?;
    for index in &args.indexes {
        store.create_index(&index.name, &index.config)?;
    }
    let threads =
        args.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let ai = Ai::load(&args.models, &args.onnxruntime, threads)?;
    tracing::info!(
        seconds = started.elapsed().as_secs_f32(),
        models = ai.installed().len(),
        indexes = store.index_names().len(),
        pending_mutations = store.pending(),
        "loaded"
    );
    let twin = Twin::new(ai, store);
    twin.batches.set_delay(Duration::from_millis(args.batch_delay_ms));
    Ok(twin)
}

/// Resolves on Ctrl-C, on SIGTERM, and (if asked for) when standard input ends.
fn stop_signal(with_stdin: bool) -> Result<impl Future<Output = ()>> {
    let (ended, stdin_ended) = oneshot::channel::<()>();
    // Kept while nothing watches standard input: a dropped sender would look like its end.
    let unwatched = if with_stdin {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            drop(ended);
        });
        None
    } else {
        Some(ended)
    };
    #[cfg(unix)]
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    #[cfg(not(unix))]
    let mut terminated = NeverTerminated;
    Ok(async move {
        let _unwatched = unwatched;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
            _ = stdin_ended => {}
        }
    })
}

#[cfg(not(unix))]
struct NeverTerminated;

#[cfg(not(unix))]
impl NeverTerminated {
    async fn recv(&mut self) {
        std::future::pending().await
    }
}
