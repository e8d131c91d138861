//! The physical floor: what the kernel charges for the steps that no broker can leave out. The server's side is a thread of this
//! process, and its CPU time is that thread's.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

use super::histogram::Histogram;
use super::options::Options;
use super::report::Report;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const SMALL_REQUEST: usize = 100;
const BACKLOG: i32 = 4096;
const ACK_BYTES: usize = 60;

/// Every part, or the one that the options name.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    let scale = report.parameter("scale", options.scale);
    report.parameter("directory", options.directory.display().to_string());
    let started = Instant::now();
    let bytes = |count: usize| (count as f64 * scale) as usize;
    let time = Duration::from_secs_f64(scale);
    let directory = options.directory.as_path();
    let parts: [(&str, &dyn Fn() -> Result<Value>); 14] = [
        ("ping_pong_1", &|| ping_pong(1, 1, time)),
        ("ping_pong_5", &|| ping_pong(1, 5, time)),
        ("ping_pong_16", &|| ping_pong(16, 1, time)),
        ("loopback_64k", &|| loopback(64 * KIB, bytes(1024 * MIB))),
        ("loopback_1m", &|| loopback(MIB, bytes(1024 * MIB))),
        ("sendfile_64k", &|| send_file(directory, 64 * KIB, bytes(1024 * MIB))),
        ("sendfile_1m", &|| send_file(directory, MIB, bytes(1024 * MIB))),
        ("append_16k", &|| append(directory, 16 * KIB, bytes(256 * MIB))),
        ("append_64k", &|| append(directory, 64 * KIB, bytes(512 * MIB))),
        ("append_1m", &|| append(directory, MIB, bytes(512 * MIB))),
        ("fdatasync_4k", &|| fdatasync(directory, time)),
        ("crc32c", &|| checksum(bytes(1024 * MIB))),
        ("produce_120k", &|| produce(directory, 120 * KIB, bytes(512 * MIB))),
        ("accept", &|| accept(bytes(4000).max(100))),
    ];
    for (name, part) in parts {
        if options.only.as_deref().is_none_or(|only| only == name) {
            let figures = part().with_context(|| format!("floor {name}"))?;
            report.measure(name, figures);
        }
    }
    report.wall_seconds = started.elapsed().as_secs_f64();
    report.check("floor", "no broker is involved");
    Ok(report)
}

/// Touches memory page by page, so that the host backs it before anything is measured.
pub fn touch(options: &Options) -> Result<Report> {
    let mut report = Report::of(options);
    let gib = report.parameter("gib", options.gib);
    let started = Instant::now();
    let cpu = thread_cpu();
    let mut memory = vec![0u8; (gib * (1u64 << 30) as f64) as usize];
    memory.iter_mut().step_by(4 * KIB).for_each(|page| *page = 1);
    std::hint::black_box(&memory);
    report.bytes = memory.len() as u64;
    drop(memory);
    report.wall_seconds = started.elapsed().as_secs_f64();
    report.driver_cpu_seconds = (thread_cpu() - cpu).as_secs_f64();
    report.check("touched", report.bytes);
    Ok(report)
}

/// On-CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs the server's side in a thread and the client's side in this one; the server's CPU time.
fn beside<T>(
    server: impl FnOnce(TcpListener) -> Result<()> + Send,
    client: impl FnOnce(&dyn Fn() -> Result<TcpStream>) -> Result<T>,
) -> Result<(Duration, T)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // As long a queue as a broker's: a connection that finds it full comes back after a second.
    rustix::net::listen(&listener, BACKLOG)?;
    let address = listener.local_addr()?;
    let connect = || -> Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let cpu = thread_cpu();
            server(listener)?;
            anyhow::Ok(thread_cpu() - cpu)
        });
        let result = client(&connect)?;
        let cpu = server.join().map_err(|_| anyhow::anyhow!("the server's thread ended badly"))??;
        Ok((cpu, result))
    })
}

fn per_gb(cpu: Duration, bytes: usize) -> f64 {
    cpu.as_secs_f64() / bytes as f64 * 1e9
}

fn rate(cpu: Duration, wall: Duration, bytes: usize) -> Value {
    json!({ "cpu_seconds_per_gb": per_gb(cpu, bytes), "mb_per_second": bytes as f64 / 1e6 / wall.as_secs_f64(), "bytes": bytes })
}

/// A server that sends back what it got: one thread, `epoll` when there are many connections.
fn ping_pong(connections: usize, in_flight: usize, time: Duration) -> Result<Value> {
    let server = move |listener: TcpListener| -> Result<()> {
        let mut streams = Vec::new();
        for _ in 0..connections {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        echo(streams)
    };
    let (cpu, (histogram, wall)) = beside(server, |connect| {
        let streams: Result<Vec<_>> = (0..connections).map(|_| connect()).collect();
        let mut streams = streams?;
        let (mut histogram, mut buffer) = (Histogram::default(), [7u8; SMALL_REQUEST]);
        let started = Instant::now();
        // The sockets in turn: each has its answer when it is come back to, or soon.
        let mut sent = vec![std::collections::VecDeque::new(); connections];
        for (stream, sent) in streams.iter_mut().zip(&mut sent) {
            for _ in 0..in_flight {
                stream.write_all(&buffer)?;
                sent.push_back(Instant::now());
            }
        }
        while started.elapsed() < time {
            for (stream, sent) in streams.iter_mut().zip(&mut sent) {
                stream.read_exact(&mut buffer)?;
                histogram.record(sent.pop_front().context("an answer to nothing")?.elapsed());
                stream.write_all(&buffer)?;
                sent.push_back(Instant::now());
            }
        }
        Ok((histogram, started.elapsed()))
    })?;
    let latency = histogram.latency().context("no answers")?;
    let mut figures = Map::new();
    figures.insert("server_cpu_us".into(), (cpu.as_secs_f64() * 1e6 / latency.samples as f64).into());
    figures.insert("requests_per_second".into(), (latency.samples as f64 / wall.as_secs_f64()).into());
    figures.insert("latency_us".into(), serde_json::to_value(latency)?);
    Ok(figures.into())
}

fn echo(mut streams: Vec<TcpStream>) -> Result<()> {
    use rustix::event::epoll;
    let mut buffer = [0; 4 * KIB];
    if let [stream] = &mut streams[..] {
        loop {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return Ok(()),
                Ok(read) if stream.write_all(&buffer[..read]).is_err() => return Ok(()),
                Ok(_) => {}
            }
        }
    }
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, stream) in streams.iter().enumerate() {
        epoll::add(&poll, stream, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
    }
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let stream = &mut streams[{ event.data }.u64() as usize];
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return Ok(()),
                Ok(read) if stream.write_all(&buffer[..read]).is_err() => return Ok(()),
                Ok(_) => {}
            }
        }
    }
}

/// One side writes, the other reads into memory.
fn loopback(chunk: usize, bytes: usize) -> Result<Value> {
    let receive = |stream: &mut TcpStream| -> Result<()> {
        let mut buffer = vec![0; chunk];
        while stream.read(&mut buffer)? > 0 {}
        Ok(())
    };
    let started = Instant::now();
    let server = |listener: TcpListener| receive(&mut listener.accept()?.0);
    let (receiving, (sending, wall)) = beside(server, |connect| {
        let mut stream = connect()?;
        let (data, cpu) = (vec![7; chunk], thread_cpu());
        for _ in 0..bytes / chunk {
            stream.write_all(&data)?;
        }
        Ok((thread_cpu() - cpu, started.elapsed()))
    })?;
    let mut figures = rate(receiving, wall, bytes);
    figures["send_cpu_seconds_per_gb"] = per_gb(sending, bytes).into();
    Ok(figures)
}

/// The server sends a cached file.
fn send_file(directory: &Path, chunk: usize, bytes: usize) -> Result<Value> {
    const FILE: usize = 128 * MIB;
    let file = tempfile::tempfile_in(directory)?;
    let data = vec![7; MIB];
    for number in 0..FILE / MIB {
        file.write_all_at(&data, (number * MIB) as u64)?;
    }
    let started = Instant::now();
    let server = |listener: TcpListener| -> Result<()> {
        let (stream, _) = listener.accept()?;
        for number in 0..bytes / chunk {
            let mut offset = (number * chunk % FILE) as u64;
            let end = offset + chunk as u64;
            while offset < end {
                let count = (end - offset) as usize;
                rustix::fs::sendfile(&stream, &file, Some(&mut offset), count)?;
            }
        }
        Ok(())
    };
    let (cpu, wall) = beside(server, |connect| {
        let mut stream = connect()?;
        let mut buffer = vec![0; MIB];
        while stream.read(&mut buffer)? > 0 {}
        Ok(started.elapsed())
    })?;
    Ok(rate(cpu, wall, bytes))
}

fn append(directory: &Path, chunk: usize, bytes: usize) -> Result<Value> {
    let file = tempfile::tempfile_in(directory)?;
    let data = vec![7; chunk];
    let (started, cpu) = (Instant::now(), thread_cpu());
    for number in 0..bytes / chunk {
        file.write_all_at(&data, (number * chunk) as u64)?;
    }
    Ok(rate(thread_cpu() - cpu, started.elapsed(), bytes))
}

/// Appends of 4 KiB, each made durable.
fn fdatasync(directory: &Path, time: Duration) -> Result<Value> {
    let file = tempfile::tempfile_in(directory)?;
    let (data, mut histogram, mut end) = ([7; 4 * KIB], Histogram::default(), 0);
    let started = Instant::now();
    while started.elapsed() < time {
        let before = Instant::now();
        file.write_all_at(&data, end)?;
        file.sync_data()?;
        end += data.len() as u64;
        histogram.record(before.elapsed());
    }
    let latency = histogram.latency().context("no sync")?;
    let per_second = latency.samples as f64 / started.elapsed().as_secs_f64();
    Ok(json!({ "per_second": per_second, "latency_us": latency }))
}

fn checksum(bytes: usize) -> Result<Value> {
    let data = vec![7; 128 * KIB];
    let (started, cpu) = (Instant::now(), thread_cpu());
    for _ in 0..bytes / data.len() {
        std::hint::black_box(crc32c::crc32c(std::hint::black_box(&data)));
    }
    Ok(rate(thread_cpu() - cpu, started.elapsed(), bytes))
}

/// The shape of W1 without a broker: receive a frame, checksum it, append it, answer; five in flight.
fn produce(directory: &Path, frame: usize, bytes: usize) -> Result<Value> {
    let file: File = tempfile::tempfile_in(directory)?;
    let frames = bytes / frame;
    let server = |listener: TcpListener| -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let (mut buffer, answer) = (vec![0; frame], [1; ACK_BYTES]);
        for number in 0..frames {
            stream.read_exact(&mut buffer)?;
            std::hint::black_box(crc32c::crc32c(&buffer));
            file.write_all_at(&buffer, (number * frame) as u64)?;
            stream.write_all(&answer)?;
        }
        Ok(())
    };
    let started = Instant::now();
    let (cpu, wall) = beside(server, |connect| {
        let mut stream = connect()?;
        let (data, mut answer) = (vec![7; frame], [0; ACK_BYTES]);
        for number in 0..frames + 5 {
            if number >= 5 {
                stream.read_exact(&mut answer)?;
            }
            if number < frames {
                stream.write_all(&data)?;
            }
        }
        Ok(started.elapsed())
    })?;
    Ok(rate(cpu, wall, frames * frame))
}

/// A server that accepts and keeps.
fn accept(connections: usize) -> Result<Value> {
    let server = |listener: TcpListener| -> Result<()> {
        let mut kept = Vec::with_capacity(connections);
        for _ in 0..connections {
            kept.push(listener.accept()?.0);
        }
        Ok(())
    };
    let started = Instant::now();
    let (cpu, wall) = beside(server, |connect| {
        let kept: Result<Vec<_>> = (0..connections).map(|_| connect()).collect();
        kept.map(|_| started.elapsed())
    })?;
    let per_second = connections as f64 / wall.as_secs_f64();
    Ok(json!({ "per_second": per_second, "server_cpu_us": cpu.as_secs_f64() * 1e6 / connections as f64 }))
}
