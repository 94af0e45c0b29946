//! A conversation that goes on: append its turns, send one again safely, and read the window that fits a model.

use memory_core::{
    AppendRequest, EmbeddingSpace, IdempotencyKey, NewMessage, Role, Scope, WindowRequest, WorkingMemory as _,
};
use provider_redis::{RedisConfig, RedisSemanticCacheProvider};

#[tokio::main]
async fn main() -> memory_core::Result<()> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    let space = EmbeddingSpace::new("static-256", "1", 256)?;
    let provider = RedisSemanticCacheProvider::connect(RedisConfig::new(url, space.into())).await?;
    let memory = provider.working_memory();
    let scope = Scope::tenant("acme")?.with_user("ann")?.with_session("example")?;
    memory.clear(&scope).await?;

    let turns = vec![
        NewMessage::new(Role::System, "You are a travel agent. Answer in one sentence."),
        NewMessage::new(Role::User, "I would like to go to Lisbon in May, by train if there is one."),
    ];
    memory.append(AppendRequest::new(scope.clone(), turns)).await?;
    // `body_hash` is a hash of the whole request, such as BLAKE3 of its body.
    let answer = AppendRequest {
        idempotency: Some(IdempotencyKey { key: "answer-1".into(), body_hash: [1; 32] }),
        ..AppendRequest::new(
            scope.clone(),
            vec![NewMessage::new(Role::Assistant, "There is a night train by way of Madrid.")],
        )
    };
    for _ in 0..2 {
        let receipt = memory.append(answer.clone()).await?;
        println!("message {} of {}, sent before: {}", receipt.last, receipt.total, receipt.replayed);
    }

    for max_tokens in [None, Some(30), Some(5)] {
        let window = memory.window(&WindowRequest { max_tokens, ..WindowRequest::new(scope.clone()) }).await?;
        println!("at most {max_tokens:?} tokens: {} of {} messages", window.messages.len(), window.total);
        for message in &window.messages {
            println!("  {} {:?} ({} tokens): {}", message.sequence, message.role, message.tokens, message.content);
        }
    }
    println!("cleared {} messages", memory.clear(&scope).await?);
    Ok(())
}
