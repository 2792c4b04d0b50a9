//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package journal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestNewDiskRefusesWhatCannotWork(t *testing.T) {
	if _, err := NewDisk("", testKey); err == nil {
		t.Error("no directory is accepted")
	}
	for _, size := range []int{0, 16, 31, 33, 64} {
		if _, err := NewDisk("journal", make([]byte, size)); err == nil {
			t.Errorf("a key of %d bytes is accepted", size)
		}
	}
}

func TestNewDiskTouchesNoDisk(t *testing.T) {
	dir := t.TempDir()
	d := testDisk(t, filepath.Join(dir, "journal"))
	adoptNone(t, d)
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("%v is there, error %v", names, err)
	}
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	d := testDisk(t, filepath.Join(t.TempDir(), "a", "b"))
	f := openFile(t, d)
	for path, want := range map[string]os.FileMode{
		d.path(f.id): 0o600, d.dir: os.ModeDir | 0o700, filepath.Dir(d.dir): os.ModeDir | 0o700,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, error %v; want %v", path, info.Mode(), err, want)
		}
	}
}

func TestOpenSaysWhyItCannot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a file")
	must(t, os.WriteFile(path, nil, 0o600))
	for _, dir := range []string{path, filepath.Join(path, "below")} {
		if _, err := testDisk(t, dir).Open(); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("error %v", err)
		}
	}
	if _, _, err := testDisk(t, path).Adopt(); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("adopt: error %v", err)
	}
}

func TestOtherNamesInTheDirectoryAreIgnored(t *testing.T) {
	w := writeSome(t, testDisk(t, t.TempDir()))
	d := testDisk(t, t.TempDir())
	id := strings.Repeat("ab", idSize)
	var names []string
	for _, name := range []string{
		"README", id, id + ".journal.bak", strings.ToUpper(id) + ".journal", id[1:] + ".journal", "x.journal", ".journal", id + "ab.journal",
	} {
		must(t, os.WriteFile(filepath.Join(d.dir, name), w.data, 0o600))
		names = append(names, name)
	}
	// What is not a file has no content to read, and to open it may wait for ever.
	must(t, syscall.Mkfifo(d.path(id), 0o600))
	must(t, os.Mkdir(d.path(w.id), 0o700))
	outside := put(t, w.id, w.data)
	link := strings.Repeat("cd", idSize)
	must(t, os.Symlink(outside.path(w.id), d.path(link)))
	names = append(names, id+".journal", w.id+".journal", link+".journal")

	adoptNone(t, d)
	var after []string
	entries, err := os.ReadDir(d.dir)
	must(t, err)
	for _, e := range entries {
		after = append(after, e.Name())
	}
	slices.Sort(names)
	if !slices.Equal(after, names) {
		t.Errorf("left are %v, want %v", after, names)
	}
}

func TestWhatACrashLeftUnnamedIsSwept(t *testing.T) {
	d := testDisk(t, t.TempDir())
	garbage := filepath.Join(d.dir, "x"+unnamedSuffix)
	must(t, os.WriteFile(garbage, []byte("half a header"), 0o600))
	making, err := d.create()
	must(t, err)
	defer making.Close()

	adoptNone(t, d)
	if _, err := os.Stat(garbage); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("garbage is left; error %v", err)
	}
	if !isNamed(making, making.Name()) {
		t.Error("a file that is being made was removed")
	}
}

func TestFilesThatCannotBeReadAreLeft(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root can read all")
	}
	d := testDisk(t, t.TempDir())
	f := openFile(t, d)
	must(t, f.file.Close())
	must(t, os.Chmod(d.path(f.id), 0))
	mustLeave(t, d, syscall.EACCES)
}

func TestJournalsOfOneDirectoryWithSeveralKeys(t *testing.T) {
	dir := t.TempDir()
	mine := testDisk(t, dir)
	theirs, err := NewDisk(dir, bytes.Repeat([]byte{9}, KeySize))
	must(t, err)
	for i, d := range []*Disk{mine, theirs} {
		f := openFile(t, d)
		must(t, f.Claim(note(i)))
		must(t, f.file.Close())
	}
	for i, d := range []*Disk{mine, theirs} {
		adopted, left, err := d.Adopt()
		if err != nil || len(adopted) != 1 || len(left) > 1 {
			t.Fatalf("adopted %v, left %v, error %v", adopted, left, err)
		}
		defer Abandon(adopted[0])
		wantEntries(t, adopted[0].Unsettled(), open(i))
		for _, l := range left {
			if !errors.Is(l, ErrForeign) {
				t.Errorf("left as %v", l)
			}
		}
	}
}

func TestKeyIsTheDisksOwnCopy(t *testing.T) {
	key := bytes.Clone(testKey)
	d, err := NewDisk(t.TempDir(), key)
	must(t, err)
	clear(key)
	f := openFile(t, d)
	must(t, f.Claim(note(1)))
	must(t, f.file.Close())
	mustAdoptOne(t, testDisk(t, d.dir), open(1))
}
