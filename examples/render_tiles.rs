//! An image that is rendered in tiles by worker processes: each tile comes back as memory that is shared and not copied, says how far
//! it is, and has a time-out; and the picture is whole although one tile hangs at first and another one leaks.
//!
//! `cargo run --example render_tiles`

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use bowline::process_pool::{self, SharedVecMut};
use bowline::task::as_completed;
use bowline::{Future, ProcessPoolExecutor, SharedVec, TaskError};
use indicatif::{ProgressBar, ProgressStyle};

/// The picture, in points and in lines of text.
const WIDTH: usize = 96;
const HEIGHT: usize = 32;
/// The lines of a tile.
const TILE: usize = 4;
const TILES: usize = HEIGHT / TILE;

/// What the workers of this example get wrong, each in one tile.
const HANGS: usize = 2;
const LEAKS: usize = 5;

/// Renders a tile into memory that the program will see: one byte for each point.
fn render(tile: usize, must_work: bool) -> Result<(SharedVec<u8>, u32), String> {
    let task = process_pool::current_task().ok_or("it runs in a worker")?;
    if tile == HANGS && !must_work {
        while !black_box(false) {} // and never asks whether it should stop
    }
    if tile == LEAKS && !must_work {
        std::mem::forget(black_box(vec![1_u8; 64 << 20]));
    }
    let mut points = SharedVecMut::new(WIDTH * TILE).map_err(|error| error.to_string())?;
    for (at, point) in points.iter_mut().enumerate() {
        if task.should_stop() {
            return Err("it takes too long".to_owned());
        }
        if at % WIDTH == WIDTH - 1 {
            task.progress(tile).map_err(|error| error.to_string())?; // one more line
        }
        let (x, y) = (at % WIDTH, tile * TILE + at / WIDTH);
        *point = escape(x as f64 / WIDTH as f64 * 3.2 - 2.3, y as f64 / HEIGHT as f64 * 2.4 - 1.2);
    }
    // From here on nobody can change it, and it costs nothing to send.
    Ok((points.seal().map_err(|error| error.to_string())?, std::process::id()))
}

/// After how many rounds the point is far away: 200 if it stays.
fn escape(cx: f64, cy: f64) -> u8 {
    let (mut x, mut y) = (0.0_f64, 0.0_f64);
    for round in 0..200 {
        if x * x + y * y > 4.0 {
            return round;
        }
        (x, y) = (x * x - y * y + cx, 2.0 * x * y + cy);
    }
    200
}

type Tile = Result<(SharedVec<u8>, u32), String>;

fn submit(pool: &ProcessPoolExecutor, bar: &ProgressBar, tile: usize, must_work: bool) -> Future<Tile> {
    let bar = bar.clone();
    let render = pool.task(render, (tile, must_work)).name(format!("tile {tile}"));
    let render = render.on_progress(move |_: usize| bar.inc(1));
    // Time enough for a machine that is busy with something else.
    render.timeout(Duration::from_secs(if tile == HANGS && !must_work { 1 } else { 30 })).grace(Duration::ZERO).submit()
}

fn main() -> Result<(), Box<dyn Error>> {
    // A worker that has grown by 32 MiB is replaced after its task.
    let pool = ProcessPoolExecutor::builder().max_workers(2).name("tiles").max_worker_growth(32 << 20).build()?;
    let style = ProgressStyle::with_template("[{wide_bar}] {pos} of {len} lines")?;
    let bar = ProgressBar::new(HEIGHT as u64).with_style(style);
    let mut picture = BTreeMap::new();
    let mut leaky = None;
    let mut under_way: Vec<_> = (0..TILES).map(|tile| (tile, submit(&pool, &bar, tile, false))).collect();
    while !under_way.is_empty() {
        for done in as_completed(std::mem::take(&mut under_way)) {
            let (tile, done) = done?;
            match done.result() {
                Ok(rendered) => {
                    let (points, worker) = rendered?;
                    leaky = if tile == LEAKS { Some(worker) } else { leaky };
                    picture.insert(tile, points);
                }
                Err(TaskError::Terminated(terminated)) => {
                    bar.suspend(|| println!("{terminated}: once more"));
                    under_way.push((tile, submit(&pool, &bar, tile, true)));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    assert_eq!(bar.position(), HEIGHT as u64, "every line was heard of");
    bar.finish();
    for point in picture.values().flat_map(|points| points.chunks(WIDTH)) {
        let line: String = point.iter().map(|&n| b" .:-=+*#%@"[usize::from(n) * 9 / 200] as char).collect();
        println!("{}", line.trim_end());
    }
    assert_eq!(picture.len(), TILES, "every tile is there");
    while pool.worker_pids().iter().any(|&worker| Some(worker) == leaky) {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!(
        "{TILES} tiles, one of them twice; the worker that leaked was replaced: {:?}",
        leaky.expect("it rendered a tile")
    );
    assert!(pool.shutdown().is_complete());
    Ok(())
}
