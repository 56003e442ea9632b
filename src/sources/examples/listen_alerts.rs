//! Prints alerts as they are raised: what README.md shows, with a main.
//!
//! ```text
//! listen_alerts CONNECTION        such as 'host=/run/postgresql user=postgres dbname=d'
//! ```

use std::future::poll_fn;

use tokio_postgres::{AsyncMessage, NoTls};

async fn listen(database: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (client, mut connection) = tokio_postgres::connect(database, NoTls).await?;
    let (heard, mut alerts) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(it) = message {
                let _ = heard.send(it);
            }
        }
    });
    client.batch_execute("LISTEN cvx_alert").await?;
    while let Some(it) = alerts.recv().await {
        let alert: serde_json::Value = serde_json::from_str(it.payload())?;
        println!(
            "{} {} {} {}",
            alert["severity"], alert["monitor"], alert["entity_id"], alert["message"]
        );
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = std::env::args().nth(1).ok_or("usage: listen_alerts CONNECTION")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(listen(&database))
}
