package journal

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"
)

// faulty is a file whose next operations go wrong.
type faulty struct {
	output
	write    int // WriteAt writes so many bytes and fails; negative: it works
	truncate error
	sync     func() error // nil: it works
}

func (f *faulty) WriteAt(data []byte, at int64) (int, error) {
	if f.write < 0 {
		return f.output.WriteAt(data, at)
	}
	n, err := f.output.WriteAt(data[:min(f.write, len(data))], at)
	return n, errors.Join(err, syscall.ENOSPC)
}

func (f *faulty) Truncate(size int64) error {
	if f.truncate != nil {
		return f.truncate
	}
	return f.output.Truncate(size)
}

func (f *faulty) Sync() error {
	if f.sync != nil {
		return f.sync()
	}
	return f.output.Sync()
}

func faultyFile(t *testing.T) (*file, *faulty) {
	t.Helper()
	f := openFile(t, testDisk(t, t.TempDir()))
	out := &faulty{output: f.out, write: -1}
	f.out = out
	return f, out
}

func TestFailedAppendLeavesTheFileAsItWas(t *testing.T) {
	for _, written := range []int{0, 1, frameSize, 60, 1 << 20} {
		f, out := faultyFile(t)
		must(t, f.Claim(note(1)))
		before := content(t, f)

		out.write = written
		for name, err := range map[string]error{
			"claim": f.Claim(note(2)), "answer": f.Answer(nonce(1), answer(1)),
		} {
			if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrBroken) {
				t.Errorf("%s: error %v", name, err)
			}
		}
		if string(content(t, f)) != string(before) {
			t.Errorf("%d bytes of a record are left behind", written)
		}
		wantEntries(t, f.Unsettled(), open(1))

		out.write = -1
		must(t, f.Answer(nonce(1), answer(1)))
		must(t, f.Claim(note(2)))
		must(t, f.file.Close())
		mustAdoptOne(t, f.disk, answered(1), open(2))
	}
}

func TestFailedSettlementHoldsForThisProcess(t *testing.T) {
	f, out := faultyFile(t)
	must(t, f.Claim(note(1)))
	must(t, f.Claim(note(2)))
	out.write = 3
	if err := f.Settle(nonce(1)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v", err)
	}
	wantEntries(t, f.Unsettled(), open(2))
	must(t, f.Settle(nonce(1)))
	must(t, f.file.Close())
	mustAdoptOne(t, f.disk, open(1), open(2))
}

func TestAppendThatCannotBeUndoneBreaksTheJournal(t *testing.T) {
	f, out := faultyFile(t)
	must(t, f.Claim(note(1)))
	out.write, out.truncate = 30, syscall.EIO
	wantBroken(t, f, f.Claim(note(2)), syscall.EIO)
	must(t, f.file.Close())
	mustAdoptOne(t, f.disk, open(1))
}

func TestFailedFsyncBreaksTheJournal(t *testing.T) {
	t.Run("of a claim", func(t *testing.T) {
		f, out := faultyFile(t)
		out.sync = func() error { return syscall.EIO }
		wantBroken(t, f, f.Claim(note(1)), syscall.EIO)
	})
	t.Run("of an answer", func(t *testing.T) {
		f, out := faultyFile(t)
		must(t, f.Claim(note(1)))
		out.sync = func() error { return syscall.EIO }
		err := f.Answer(nonce(1), answer(1))
		out.sync = nil // It works again, and means nothing.
		wantBroken(t, f, err, syscall.EIO)
		wantEntries(t, f.Unsettled(), answered(1))

		// Others still take its process for alive, until all is settled.
		adoptNone(t, f.disk)
		if err := f.Settle(nonce(1)); !errors.Is(err, ErrBroken) {
			t.Errorf("error %v", err)
		}
		wantEntries(t, f.Unsettled())
		must(t, f.Close())
		if names, err := os.ReadDir(f.disk.dir); err != nil || len(names) > 0 {
			t.Errorf("%v is left, error %v", names, err)
		}
	})
}

// wantBroken ends the test unless err and what f says from now on is that it is
// broken for that reason.
func wantBroken(t *testing.T, f *file, err, reason error) {
	t.Helper()
	for name, err := range map[string]error{
		"first": err, "claim": f.Claim(note(9)), "answer": f.Answer(nonce(1), answer(9)),
	} {
		if !errors.Is(err, ErrBroken) || !errors.Is(err, reason) {
			t.Fatalf("%s: error %v, want ErrBroken of %v", name, err, reason)
		}
	}
}

func adoptNone(t *testing.T, d *Disk) {
	t.Helper()
	if files := adoptAll(t, d); len(files) > 0 {
		t.Fatalf("%d journals were adopted", len(files))
	}
}

func TestNothingIsAcknowledgedBeforeItsFsync(t *testing.T) {
	f, out := faultyFile(t)
	syncing, mayEnd := make(chan struct{}), make(chan error)
	out.sync = func() error { syncing <- struct{}{}; return <-mayEnd }
	for _, do := range []func() error{
		func() error { return f.Claim(note(1)) },
		func() error { return f.Answer(nonce(1), answer(1)) },
	} {
		done := make(chan error, 1)
		go func() { done <- do() }()
		<-syncing
		select {
		case err := <-done:
			t.Fatalf("acknowledged while the fsync runs; error %v", err)
		default:
		}
		mayEnd <- nil
		must(t, <-done)
	}
}

func TestClaimsThatComeTogetherShareAnFsync(t *testing.T) {
	const claims = 20
	f, out := faultyFile(t)
	first, mayEnd := make(chan struct{}), make(chan struct{})
	var once sync.Once
	syncs := 0
	out.sync = func() error { // Never called concurrently.
		syncs++
		once.Do(func() { close(first); <-mayEnd })
		return out.output.Sync()
	}
	var group sync.WaitGroup
	claim := func(i int) {
		group.Go(func() {
			f.mu.Lock() // As Claim, without the look whether to compact, which waits for the fsync.
			written, err := f.appendClaim(note(i))
			f.mu.Unlock()
			if err := errors.Join(err, f.flush(written)); err != nil {
				t.Error(err)
			}
		})
	}
	claim(0)
	<-first
	for i := 1; i < claims; i++ {
		claim(i)
	}
	for written := uint64(0); written < claims; {
		f.mu.Lock()
		written = f.written
		f.mu.Unlock()
	}
	close(mayEnd)
	group.Wait()
	if syncs != 2 {
		t.Errorf("%d claims took %d fsyncs, want 2: one for the first, one for the rest", claims, syncs)
	}
}

func TestSettlementsDoNotWaitForTheDisk(t *testing.T) {
	f, out := faultyFile(t)
	must(t, f.Claim(note(1)))
	must(t, f.Claim(note(2)))
	syncing, mayEnd := make(chan struct{}), make(chan struct{})
	out.sync = func() error { close(syncing); <-mayEnd; return nil }
	done := make(chan error)
	go func() { done <- f.Answer(nonce(1), answer(1)) }()
	<-syncing
	must(t, f.Settle(nonce(2))) // Which would never return.
	wantEntries(t, f.Unsettled(), answered(1))
	close(mayEnd)
	must(t, <-done)
}

func TestClaimNoticesThatTheFileIsGone(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, f *file){
		"removed": func(t *testing.T, f *file) { must(t, os.Remove(f.disk.path(f.id))) },
		"replaced": func(t *testing.T, f *file) {
			data := content(t, f)
			must(t, os.Remove(f.disk.path(f.id)))
			must(t, os.WriteFile(f.disk.path(f.id), data, 0o600))
		},
		"renamed":               func(t *testing.T, f *file) { must(t, os.Rename(f.disk.path(f.id), f.disk.path("x"))) },
		"the directory removed": func(t *testing.T, f *file) { must(t, os.RemoveAll(f.disk.dir)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := openFile(t, testDisk(t, t.TempDir()+"/journal"))
			must(t, f.Claim(note(1)))
			lose(t, f)
			wantBroken(t, f, f.Claim(note(2)), errRemoved)
			wantEntries(t, f.Unsettled(), open(1))
			if err := f.Settle(nonce(1)); !errors.Is(err, ErrBroken) {
				t.Errorf("settle: error %v", err)
			}
			must(t, f.Close())
			if name == "replaced" {
				mustAdoptOne(t, f.disk, open(1)) // Whose file it is, it did not remove.
			}
		})
	}
}
