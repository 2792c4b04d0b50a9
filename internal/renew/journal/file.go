package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// file is a journal on the disk: this process's own, or an adopted one.
type file struct {
	disk *Disk
	id   string

	// flushing is held while the disk is waited for. It is taken before mu.
	flushing sync.Mutex

	mu        sync.Mutex
	file      *os.File // has the lock
	out       output   // the same file
	sealer    *sealer
	pending   pendingClaims
	seq       uint64 // number of the last record
	size      int64  // where the next one goes
	torn      bool   // something is behind that
	written   uint64 // records written by this process, ever
	synced    uint64 // how many of them are known to be on the disk
	compactAt int64  // size at which to look whether the file can be smaller
	failed    error  // an ErrBroken
	closed    bool
}

// output is what a file is written through.
type output interface {
	io.WriterAt
	Truncate(size int64) error
	Sync() error
}

var _ Journal = (*file)(nil)

var errRemoved = errors.New("its file was removed or replaced")

func (f *file) ID() string { return f.id }

func (f *file) Unsettled() []PendingClaim {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.pending)
}

func (f *file) Claim(note ClaimRecord) error {
	if err := note.Check(); err != nil {
		return err
	}
	if err := f.compact(); err != nil {
		return err
	}
	f.mu.Lock()
	written, err := f.appendClaim(note)
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.flush(written)
}

func (f *file) appendClaim(note ClaimRecord) (written uint64, err error) {
	if err := f.usable(); err != nil {
		return 0, err
	}
	if err := f.pending.mayClaim(note.Nonce); err != nil {
		return 0, err
	}
	// A file that nobody can find is worth nothing, and a full disk is better
	// noticed now than when the answer is here.
	if !isNamed(f.file, f.disk.path(f.id)) {
		return 0, f.fail(errRemoved)
	}
	record := claimRecord(note)
	if err := f.keepRoom(int64(len(record)) + reserve*(f.pending.unanswered()+1)); err != nil {
		return 0, fmt.Errorf("journal: reserving room: %w", err)
	}
	if err := f.append(record); err != nil {
		return 0, err
	}
	return f.written, f.pending.claim(note)
}

func (f *file) Answer(nonce string, answer Answer) error {
	if err := answer.Check(); err != nil {
		return err
	}
	record, err := answerRecord(nonce, answer)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	f.mu.Lock()
	written, err := f.appendAnswer(nonce, answer, record)
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.flush(written)
}

func (f *file) appendAnswer(nonce string, answer Answer, record []byte) (written uint64, err error) {
	if err := f.usable(); err != nil {
		return 0, err
	}
	if err := f.pending.mayAnswer(nonce); err != nil {
		return 0, err
	}
	if err := f.append(record); err != nil {
		return 0, err
	}
	return f.written, f.pending.answer(nonce, answer)
}

func (f *file) Settle(nonce string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	if f.pending.index(nonce) < 0 {
		return nil
	}
	f.pending.settle(nonce)
	if err := f.usable(); err != nil {
		return err
	}
	return f.append(settledRecord(nonce))
}

// append writes one record. The caller holds mu. After an error that is not an
// [ErrBroken] the file is as it was.
func (f *file) append(record []byte) error {
	if f.torn {
		if err := f.out.Truncate(f.size); err != nil {
			return f.fail(err)
		}
		f.torn = false
	}
	framed := frame(f.sealer.seal(f.seq+1, record))
	if _, err := f.out.WriteAt(framed, f.size); err != nil {
		// A part of it may be there, which must not be in the way of the next.
		if err := f.out.Truncate(f.size); err != nil {
			return f.fail(err)
		}
		_ = f.keepRoom(reserve * f.pending.unanswered()) // Which went with it.
		return fmt.Errorf("journal: appending: %w", err)
	}
	f.seq++
	f.size += int64(len(framed))
	f.written++
	return nil
}

// keepRoom makes sure that the file can take as many bytes more as are needed, and as many
// as its disk is to keep room for, if they are to be had. The caller holds mu.
func (f *file) keepRoom(needed int64) error {
	if kept := f.disk.keeps(); kept > needed && reserveRoom(f.file, f.size+kept) == nil {
		return nil
	}
	return reserveRoom(f.file, f.size+needed)
}

// keeps is how much room a file keeps at least, in bytes.
func (d *Disk) keeps() int64 {
	if d.Room == nil {
		return 0
	}
	return reserve * d.Room.Load()
}

// flush returns when the first written records are on the disk. Callers that come
// together share one fsync: each waits for the one under way, and the first
// to go on then does it for all.
func (f *file) flush(written uint64) error {
	f.flushing.Lock()
	defer f.flushing.Unlock()

	f.mu.Lock()
	out, reached := f.out, f.written
	done, err := f.synced >= written, f.usable()
	f.mu.Unlock()
	if done || err != nil {
		return err
	}
	err = out.Sync()

	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		return f.fail(err)
	}
	f.synced = reached
	return nil
}

// usable is nil if the file can be written. The caller holds mu.
func (f *file) usable() error {
	if f.closed {
		return ErrClosed
	}
	return f.failed
}

// fail makes the journal one that has failed for good. The caller holds mu.
func (f *file) fail(err error) error {
	if f.failed == nil {
		f.failed = fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return f.failed
}

func (f *file) Close() error {
	f.flushing.Lock()
	defer f.flushing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	var err error
	if len(f.pending) == 0 {
		err = f.remove()
	}
	if released := release(f.file); err == nil {
		err = released
	}
	if err != nil {
		return fmt.Errorf("journal: closing: %w", err)
	}
	return nil
}

// remove removes the file under its name, as long as the lock is held.
func (f *file) remove() error {
	if path := f.disk.path(f.id); isNamed(f.file, path) {
		return os.Remove(path)
	}
	return nil
}
