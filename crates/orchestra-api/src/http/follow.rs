//! A request while the memory is moved: it goes to the store in use, and one that meets a switch is done again after it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::admission::Work;
use super::request::in_its_turn;
use crate::error::{Problem, is_fenced};
use crate::moving::{Moving, Place};
use crate::state::AppState;

/// Does the work of a request in the store that is in use. Where that one refuses it, since a switch is under way or has been,
/// nothing of it was kept: it waits, at most as long as the settings say, for the store that is in use then, and is done there. It
/// has no turn while it waits, so those who read go on.
pub async fn followed(state: AppState, moving: Arc<Moving>, writes: bool, request: Request, work: Work) -> Response {
    let until = Instant::now() + moving.wait();
    // Before the body is read: what is not here yet waits at the client.
    let Some(mut place) = moving.place(writes, until).await else { return not_decided() };
    let limit = state.settings().limits.body_bytes;
    let mut request = Kept::of(request);
    loop {
        let response = in_its_turn(&state, once(&state, place, &mut request, limit, &work)).await;
        if !is_fenced(&response) {
            return response;
        }
        let Some((room, bytes)) = request.size().and_then(|bytes| Some((moving.room(bytes)?, bytes))) else {
            return response;
        };
        tracing::debug!(store = %place.colour, bytes, "the store takes no writes now; the request waits");
        let next = moving.next_place(place, until).await;
        drop(room);
        match next {
            Some(next) => place = next,
            None => return response,
        }
    }
}

async fn once(state: &AppState, place: Place, request: &mut Kept, limit: usize, work: &Work) -> Response {
    match state.of_store(place.colour) {
        Some(state) => work(request.again(limit).await, state).await,
        // It was open when the place was found, and stays so.
        None => not_decided(),
    }
}

fn not_decided() -> Response {
    let detail =
        "the memory is being switched to another store, and which one is in use is not decided; nothing was kept";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "fenced", detail).header(header::RETRY_AFTER, 1).into_response()
}

/// A request that can be made again.
enum Kept {
    Fresh(Request),
    Whole(axum::http::request::Parts, Bytes),
    /// Its body is larger than allowed, or did not come: it is refused once, for that.
    Gone,
}

impl Kept {
    fn of(request: Request) -> Self {
        Self::Fresh(request)
    }

    /// How many bytes its body has, when it can be made again.
    fn size(&self) -> Option<usize> {
        match self {
            Self::Whole(_, body) => Some(body.len()),
            Self::Fresh(_) | Self::Gone => None,
        }
    }

    /// The request. The first time its body is read.
    async fn again(&mut self, limit: usize) -> Request {
        match std::mem::replace(self, Self::Gone) {
            Self::Fresh(request) => {
                let (parts, body) = request.into_parts();
                match read(body, limit).await {
                    Ok(body) => {
                        *self = Self::Whole(parts.clone(), body.clone());
                        Request::from_parts(parts, Body::from(body))
                    }
                    Err(body) => Request::from_parts(parts, body),
                }
            }
            Self::Whole(parts, body) => {
                *self = Self::Whole(parts.clone(), body.clone());
                Request::from_parts(parts, Body::from(body))
            }
            Self::Gone => Request::new(Body::empty()),
        }
    }
}

/// The whole body; or where it is too large, or does not come, the same body for whoever tells its sender so.
async fn read(mut body: Body, limit: usize) -> Result<Bytes, Body> {
    let hint = body.size_hint();
    if hint.lower() > limit as u64 {
        return Err(body);
    }
    if hint.exact() == Some(0) {
        return Ok(Bytes::new());
    }
    let mut chunks: Vec<Bytes> = Vec::new();
    let mut bytes = 0;
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        let frame = tokio::time::timeout(super::json::BODY_STALL, frame).await;
        match frame {
            Ok(None) => return Ok(if chunks.len() == 1 { chunks.swap_remove(0) } else { chunks.concat().into() }),
            Ok(Some(Ok(frame))) => {
                if let Ok(chunk) = frame.into_data() {
                    bytes += chunk.len();
                    chunks.push(chunk);
                }
                if bytes > limit {
                    break;
                }
            }
            // Who reads the body next meets the same.
            Ok(Some(Err(error))) => {
                let chunks = chunks.into_iter().map(Ok).chain([Err(error)]);
                return Err(Body::from_stream(futures_util::stream::iter(chunks)));
            }
            Err(_) => break,
        }
    }
    let first = futures_util::stream::iter(chunks.into_iter().map(Ok::<_, axum::Error>));
    Err(Body::from_stream(futures_util::StreamExt::chain(first, body.into_data_stream())))
}
