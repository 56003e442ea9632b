//! A receiver of webhooks: prints the port that it listens on, then each request that comes, and answers 204.
//!
//! `cargo run -p cvx-webhooks --example receive -- COUNT` ends after so many requests; without COUNT it goes on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

const MOST_BODY: usize = 1 << 20;

fn main() -> std::io::Result<()> {
    let count = std::env::args().nth(1).and_then(|it| it.parse().ok());
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    for stream in listener.incoming().take(count.unwrap_or(usize::MAX)) {
        if let Err(error) = stream.and_then(|stream| receive(&stream)) {
            eprintln!("{error}");
        }
    }
    Ok(())
}

fn receive(stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        println!("{line}");
    }
    let mut body = vec![0; length.min(MOST_BODY)];
    reader.read_exact(&mut body)?;
    println!("\n{}", String::from_utf8_lossy(&body));
    std::io::stdout().flush()?;
    let mut answer = stream;
    answer.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
}
