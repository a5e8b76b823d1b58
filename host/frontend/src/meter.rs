//! What a guest uses: memory, through wasmtime's limiter, and time that it runs.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use wasmtime::ResourceLimiter;

use crate::limits::{Breach, Limits, shown_bytes};

/// Memory of one store, over all of its linear memories.
pub(crate) struct Meter {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements_max: usize,
    instances_max: usize,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Meter {
            memory_bytes: 0,
            memory_bytes_max: limits.memory_bytes,
            table_elements_max: limits.table_elements,
            instances_max: limits.instances,
        }
    }

    /// Bytes of linear memory. It never shrinks, so this is the peak too.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max {
            let limit = shown_bytes(self.memory_bytes_max);
            return Err(Breach::of("memory", format!("needs more than {limit} of memory")).into());
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.table_elements_max {
            return Err(
                Breach::of("table", format!("needs a table of more than {} entries", self.table_elements_max)).into()
            );
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn tables(&self) -> usize {
        self.instances_max
    }

    fn memories(&self) -> usize {
        self.instances_max
    }
}

/// The time that a future was being polled: that a guest ran, not that it waited for an answer.
pub(crate) struct Running<F> {
    future: Pin<Box<F>>,
    spent: Duration,
    limit: Duration,
}

impl<F: Future> Running<F> {
    /// Ends with a breach once `future` has run for longer than `limit`.
    pub(crate) fn new(future: F, limit: Duration) -> Self {
        Running { future: Box::pin(future), spent: Duration::ZERO, limit }
    }
}

impl<F: Future> Future for Running<F> {
    type Output = (Result<F::Output, Breach>, Duration);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let start = Instant::now();
        let polled = pin!(&mut self.future).poll(cx);
        self.spent += start.elapsed();
        match polled {
            Poll::Ready(output) => Poll::Ready((Ok(output), self.spent)),
            Poll::Pending if self.spent > self.limit => {
                let breach = Breach::of("running", format!("ran for more than {} s", self.limit.as_secs_f32()));
                Poll::Ready((Err(breach), self.spent))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
