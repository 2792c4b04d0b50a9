package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Children are what this binary does when a test starts it again with childMode
// in the environment, which names one.
var children = map[string]func(dir string){}

const (
	childMode = "JOURNAL_TEST_CHILD"
	childDir  = "JOURNAL_TEST_DIR"
)

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childMode)]; child != nil {
		child(os.Getenv(childDir))
		return
	}
	goleak.VerifyTestMain(m)
}

var testKey = bytes.Repeat([]byte{7}, KeySize)

func testDisk(t testing.TB, dir string) *Disk {
	t.Helper()
	d, err := NewDisk(dir, testKey)
	must(t, err)
	return d
}

// openFile opens a journal whose lock ends with the test.
func openFile(t testing.TB, d *Disk) *file {
	t.Helper()
	j, err := d.Open()
	must(t, err)
	f := j.(*file)
	t.Cleanup(func() { _ = f.file.Close() })
	return f
}

// adoptAll adopts what there is until the test ends, and ends it now if anything
// is left.
func adoptAll(t testing.TB, d *Disk) []*file {
	t.Helper()
	adopted, left, err := d.Adopt()
	if err != nil || len(left) > 0 {
		t.Fatalf("left %v, error %v", left, err)
	}
	var files []*file
	for _, a := range adopted {
		files = append(files, a.(*file))
		t.Cleanup(func() { _ = a.(*file).file.Close() })
	}
	return files
}

func mustAdoptOne(t testing.TB, d *Disk, want ...PendingClaim) *file {
	t.Helper()
	files := adoptAll(t, d)
	if len(files) != 1 {
		t.Fatalf("%d journals were adopted, want one", len(files))
	}
	wantEntries(t, files[0].Unsettled(), want...)
	return files[0]
}

// mustLeave adopts and ends the test unless one file is left, for that reason.
func mustLeave(t testing.TB, d *Disk, reason error) *FileError {
	t.Helper()
	adopted, left, err := d.Adopt()
	if err != nil || len(adopted) > 0 || len(left) != 1 || !errors.Is(left[0], reason) {
		t.Fatalf("adopted %v, left %v, error %v; want one left as %v", adopted, left, err, reason)
	}
	return left[0]
}

func wantEntries(t testing.TB, got []PendingClaim, want ...PendingClaim) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("unsettled is %d entries %+v, want %+v", len(got), got, want)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func note(i int) ClaimRecord {
	return ClaimRecord{Provider: "billing", Tenant: fmt.Sprintf("tenant%d", i), Nonce: nonce(i), Fingerprint: "abcd", BaseVersion: uint64(i)}
}

func nonce(i int) string { return fmt.Sprintf("nonce%d", i) }

func answer(i int) Answer {
	return Answer{SpentToken: fmt.Sprintf("spent%d", i), Response: fmt.Appendf(nil, `{"refresh_token":"new%d"}`, i), At: time.Unix(int64(i), 5).UTC()}
}

func large(i, size int) Answer {
	a := answer(i)
	a.Response = bytes.Repeat([]byte{byte(i)}, size)
	return a
}

func open(i int) PendingClaim { return PendingClaim{ClaimRecord: note(i)} }

func answered(i int) PendingClaim {
	a := answer(i)
	return PendingClaim{ClaimRecord: note(i), Answer: &a}
}

func content(t testing.TB, f *file) []byte {
	t.Helper()
	data, err := os.ReadFile(f.disk.path(f.id))
	must(t, err)
	return data
}

// put writes a file into a new directory as it would be found there.
func put(t testing.TB, id string, data []byte) *Disk {
	t.Helper()
	d := testDisk(t, t.TempDir())
	must(t, os.WriteFile(filepath.Join(d.dir, id+journalSuffix), data, 0o600))
	return d
}
