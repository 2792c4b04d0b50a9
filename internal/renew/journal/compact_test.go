package journal

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// churn claims, answers and settles until n bytes have been written.
func churn(t *testing.T, f *file, n int) {
	t.Helper()
	const size = 100 << 10
	for i := range n / size {
		must(t, f.Claim(note(i)))
		must(t, f.Answer(nonce(i), large(i, size)))
		must(t, f.Settle(nonce(i)))
	}
}

func TestFileDoesNotGrowWithWhatIsSettled(t *testing.T) {
	d := testDisk(t, t.TempDir())
	f := openFile(t, d)
	kept := []PendingClaim{{ClaimRecord: note(1000)}, {ClaimRecord: note(1001)}}
	a := large(2, MaxResponse/8)
	kept[1].Answer = &a
	must(t, f.Claim(kept[0].ClaimRecord))
	must(t, f.Claim(kept[1].ClaimRecord))
	must(t, f.Answer(kept[1].Nonce, a))
	churn(t, f, 10<<20)
	if size := len(content(t, f)); size > compactSize+(300<<10) {
		t.Errorf("the file has %d bytes", size)
	}
	names, err := os.ReadDir(d.dir)
	if err != nil || len(names) != 1 || names[0].Name() != f.id+journalSuffix {
		t.Errorf("the directory has %v, error %v", names, err)
	}
	adoptNone(t, d)
	must(t, f.file.Close())
	mustAdoptOne(t, d, kept...)
}

func TestFileIsNotRewrittenWhileMostOfItIsNeeded(t *testing.T) {
	f := openFile(t, testDisk(t, t.TempDir()))
	before := f.file
	for i := range 30 {
		must(t, f.Claim(note(i)))
		must(t, f.Answer(nonce(i), large(i, 100<<10)))
	}
	if f.file != before {
		t.Error("it was")
	}
	for i := range 30 {
		must(t, f.Settle(nonce(i)))
	}
	churn(t, f, 4<<20)
	if f.file == before {
		t.Error("it is not when all of it is settled")
	}
}

func TestRewrittenFileIsLockedThroughout(t *testing.T) {
	d := testDisk(t, t.TempDir())
	f := openFile(t, d)
	must(t, f.Claim(note(5000))) // So that there is something to adopt.
	done := make(chan struct{})
	var adopters sync.WaitGroup
	for range 2 {
		adopters.Go(func() {
			for {
				adopted, left, err := d.Adopt()
				if len(adopted) > 0 || len(left) > 0 || err != nil {
					t.Errorf("adopted %v, left %v, error %v", adopted, left, err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range 50 {
		f.compactAt = 0
		must(t, f.Claim(note(i)))
		must(t, f.Answer(nonce(i), large(i, 4<<10)))
		must(t, f.Settle(nonce(i)))
	}
	close(done)
	adopters.Wait()
	must(t, f.file.Close())
	mustAdoptOne(t, d, open(5000))
}

func TestFailedRewriteLeavesTheFileInUse(t *testing.T) {
	d := testDisk(t, t.TempDir())
	f := openFile(t, d)
	must(t, f.Claim(note(5000)))
	churn(t, f, compactSize)
	before := f.file
	f.disk = testDisk(t, filepath.Join(d.dir, "missing"))
	must(t, f.compact())
	f.disk = d
	if f.file != before || f.compactAt <= f.size {
		t.Errorf("another file is in use, or it is tried each time; at %d of %d", f.size, f.compactAt)
	}
	must(t, f.Claim(note(5001)))
	must(t, f.file.Close())
	mustAdoptOne(t, d, open(5000), open(5001))
}
