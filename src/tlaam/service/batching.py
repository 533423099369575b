"""Batching of images from many users: a few threads decode, one thread predicts, each user gets their own answers.

An image is admitted or refused immediately. Once admitted, it occupies a place until it is answered, even if its
client disconnects, so the number of images in progress is bounded.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from tlaam.data.images import ImageBytes
from tlaam.inference.engine import Engine, ReadImage
from tlaam.inference.prediction import Prediction
from tlaam.service.decoding import read_upload
from tlaam.service.limits import Limits
from tlaam.service.metrics import Metrics
from tlaam.service.refusal import Refusal, busy

_LOG = logging.getLogger(__name__)
_LONGEST_RETRY = 30  # seconds


@dataclass
class _Job:
    upload: ImageBytes | None
    answer: Future[Prediction] = field(default_factory=Future)
    read: ReadImage | None = None

    def forget(self, _answer: object) -> None:
        """Drop the file's bytes: the answer is done or cancelled."""
        self.upload = None


class Batcher:
    """A thread-safe front to one model.

    Args:
        engine: only the worker thread uses it, except for `read`, which the decoder threads call.
        limits: limits on waiting images, batches and decoding.
        metrics: where batches are counted.
    """

    def __init__(self, engine: Engine, limits: Limits, metrics: Metrics) -> None:
        self.limits, self._engine, self._metrics = limits, engine, metrics
        self._lock = threading.Lock()
        self._waiting = 0  # images admitted and not done
        self._decoding = 0  # those of them that have not reached the worker's queue
        self._seconds = 0.1  # moving average per image
        self._closed = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()  # bounded by admission
        self._decoders = ThreadPoolExecutor(limits.decoders, thread_name_prefix="tlaam-decode")
        self._worker = threading.Thread(target=self._work, name="tlaam-answer", daemon=True)
        self._worker.start()
        metrics.watch("waiting_images", "Images admitted and not yet answered.", lambda: self._waiting)

    @property
    def alive(self) -> bool:
        """Whether the worker thread is running."""
        return self._worker.is_alive() and not self._closed

    @property
    def full(self) -> bool:
        """Whether there is no room for another image."""
        return self._waiting >= self.limits.queue

    @property
    def retry_after(self) -> int:
        """Estimated seconds until the waiting images are done."""
        return min(_LONGEST_RETRY, max(1, math.ceil(self._waiting * self._seconds)))

    def submit(self, uploads: Sequence[ImageBytes]) -> list[Future[Prediction]]:
        """Admit all of the images or none, and return futures of their answers.

        A cancelled answer is not computed unless its computation has already begun. A future raises `Refusal` if the
        image cannot be read, otherwise whatever the model raised.

        Raises:
            Refusal: there is no room for the images, or the service is stopping.
        """
        jobs = [_Job(upload) for upload in uploads]
        with self._lock:
            if self._closed:
                raise busy(1, "the server is being stopped")
            if self._waiting + len(jobs) > self.limits.queue:
                raise busy(self.retry_after)
            self._waiting += len(jobs)
            self._decoding += len(jobs)
            for job in jobs:
                job.answer.add_done_callback(job.forget)
                self._decoders.submit(self._decode, job)
        return [job.answer for job in jobs]

    def close(self) -> None:
        """Stop admitting images, answer those already admitted, and stop the threads."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._decoders.shutdown(wait=True)
        self._jobs.put(None)
        self._worker.join()

    def _decode(self, job: _Job) -> None:
        upload, job.upload = job.upload, None  # free the bytes as soon as the pixels are decoded
        fault: BaseException | None = None
        try:
            if upload is not None and not job.answer.cancelled():
                job.read = read_upload(self._engine, upload, self.limits)
        except BaseException as error:  # pass anything on to the request
            fault = error
        with self._lock:
            self._decoding -= 1
        if job.read is not None:
            self._jobs.put(job)
        else:
            self._finish(job, fault)

    def _work(self) -> None:
        ends = False
        while not ends:
            batch: list[_Job] = []
            first = self._jobs.get()
            ends = first is None
            deadline = time.monotonic() + self.limits.linger
            while first is not None:
                if first.answer.set_running_or_notify_cancel():
                    batch.append(first)
                else:
                    self._done(1)
                if len(batch) >= self.limits.batch_size:
                    break
                try:
                    # Do not wait if nothing is being decoded, so that a single user gets the answer at once.
                    left = deadline - time.monotonic() if self._decoding else 0
                    first = self._jobs.get(timeout=left) if left > 0 else self._jobs.get_nowait()
                except queue.Empty:
                    break
                ends = first is None
            if batch:
                self._answer(batch)

    def _answer(self, batch: Sequence[_Job]) -> None:
        began = time.perf_counter()
        try:
            answers = self._engine.answer([job.read for job in batch if job.read is not None])
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(answers)} answers for {len(batch)} images")
        except Exception as error:
            if len(batch) > 1:  # the batch may be too large, and no image should fail because of another user's
                for job in batch:
                    self._answer([job])
                return
            _LOG.exception("an image could not be answered")
            self._done(1)
            batch[0].answer.set_exception(error)
            return
        seconds = time.perf_counter() - began
        self._seconds += 0.2 * (seconds / len(batch) - self._seconds)
        self._metrics.batch_images.observe(len(batch))
        self._metrics.batch_seconds.observe(seconds)
        self._done(len(batch))
        for job, answer in zip(batch, answers, strict=True):
            job.answer.set_result(answer)

    def _finish(self, job: _Job, fault: BaseException | None) -> None:
        """End a job that never reached the worker: set its error, or nothing if it was cancelled."""
        self._done(1)
        if job.answer.set_running_or_notify_cancel():
            job.answer.set_exception(fault or Refusal(503, "stopped", "It was given up.", 1))

    def _done(self, images: int) -> None:
        with self._lock:
            self._waiting -= images
