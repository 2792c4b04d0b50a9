package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
)

func init() {
	children["full"] = fillADisk
	children["room"] = fillADiskBesidesItsRoom
	children["limit"] = fillUpToALimit
}

// fillADisk fills a small file system, which nobody but this process sees.
func fillADisk(dir string) {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		say("skip", err)
		return
	}
	d, err := NewDisk(filepath.Join(dir, "journal"), testKey)
	check(err)
	j, err := d.Open()
	check(err)

	// Claims until the disk is full: what was let through has room for its answer.
	claims := 0
	for ; err == nil; claims++ {
		err = j.Claim(note(claims))
	}
	claims--
	if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrBroken) || claims < 5 || claims > 16 {
		check(fmt.Errorf("after %d claims: %w", claims, err))
	}
	// Somebody else takes what is left.
	check(takeTheRest(dir))
	for i := range claims {
		if err := j.Answer(nonce(i), large(i, reserve-1000)); err != nil {
			check(fmt.Errorf("answer %d of %d: %w", i, claims, err))
		}
	}
	// Full in the middle of a record.
	check(os.Remove(filepath.Join(dir, "other")))
	check(j.Claim(note(1000)))
	if err := j.Answer(nonce(1000), large(1, MaxResponse)); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrBroken) {
		check(fmt.Errorf("too long an answer: %w", err))
	}
	check(takeTheRest(dir))
	check(j.Answer(nonce(1000), large(2, reserve-1000))) // It still has its room.

	Abandon(j)
	adopted, left, err := d.Adopt()
	check(err)
	if len(adopted) != 1 || len(left) != 0 || len(adopted[0].Unsettled()) != claims+1 {
		check(fmt.Errorf("adopted %v, left %v", adopted, left))
	}
	for i, e := range adopted[0].Unsettled() {
		if e.Answer == nil || i < claims && !bytes.Equal(e.Answer.Response, large(i, reserve-1000).Response) {
			check(fmt.Errorf("answer %d is lost", i))
		}
	}
	say("done")
}

// takeTheRest fills the file system with another file.
func takeTheRest(dir string) error {
	err := os.WriteFile(filepath.Join(dir, "other"), make([]byte, 1<<20), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("there is room for all: %w", err)
	}
	return nil
}

// fillADiskBesidesItsRoom has others take all that is left of a small file system after the
// first claim.
func fillADiskBesidesItsRoom(dir string) {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		say("skip", err)
		return
	}
	d, err := NewDisk(filepath.Join(dir, "journal"), testKey)
	check(err)
	d.Room = new(atomic.Int64)
	d.Room.Store(8)
	j, err := d.Open()
	check(err)
	check(j.Claim(note(0)))
	check(takeTheRest(dir))
	for i := range 7 {
		check(j.Claim(note(1 + i)))
	}
	for i := range 7 {
		check(j.Answer(nonce(i), large(i, 1000)))
		check(j.Settle(nonce(i)))
	}
	// And on, as long as answers are as small as they are.
	for i := range 100 {
		check(j.Claim(note(100 + i)))
		check(j.Answer(nonce(100+i), large(i, 1000)))
		check(j.Settle(nonce(100 + i)))
	}
	// More room than there is costs nothing that there was before.
	d.Room.Store(1000)
	check(j.Claim(note(1000)))
	check(j.Answer(nonce(1000), large(1, 1000)))
	say("done")
}

func TestRoomForClaimsIsKeptFromOthers(t *testing.T) { onSmallDisk(t, "room") }

func TestFullDiskRefusesClaimsAndHasRoomForAnswers(t *testing.T) { onSmallDisk(t, "full") }

// onSmallDisk runs a child that may mount a file system of its own.
func onSmallDisk(t *testing.T, child string) {
	t.Helper()
	c := start(t, child, t.TempDir(), func(command *exec.Cmd) {
		command.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
	})
	if !c.Scan() || c.Text() != "done" {
		if bytes.HasPrefix(c.Bytes(), []byte("skip")) {
			t.Skipf("no file system of its own: %s", c.Text())
		}
		t.Fatalf("the child says %q", c.Text())
	}
}

// fillUpToALimit makes the kernel refuse to let the file grow, in the middle of a record.
func fillUpToALimit(dir string) {
	d, err := NewDisk(dir, testKey)
	check(err)
	j, err := d.Open()
	check(err)
	f := j.(*file)
	check(j.Claim(note(1)))
	check(j.Claim(note(2)))
	size := f.size
	limit := func(more int64) {
		check(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(size + more), Max: 1 << 40}))
	}
	for _, more := range []int64{0, 1, 3, frameSize, 100, 4096} {
		limit(more)
		if err := j.Answer(nonce(1), large(1, 8<<10)); !errors.Is(err, syscall.EFBIG) || errors.Is(err, ErrBroken) {
			check(fmt.Errorf("an answer beyond the limit: %w", err))
		}
		if info, err := f.file.Stat(); err != nil || info.Size() != size {
			check(fmt.Errorf("a part of it is left: %d bytes, not %d, %w", info.Size(), size, err))
		}
	}
	check(j.Answer(nonce(1), answer(1)))
	limit(1 << 20)
	check(j.Answer(nonce(2), large(2, 8<<10)))
	say("filled")
	holdOn()
}

func TestLimitInTheMiddleOfARecord(t *testing.T) {
	d := testDisk(t, t.TempDir())
	c := start(t, "limit", d.dir, nil)
	c.next(t, "filled")
	c.kill(t)
	a := large(2, 8<<10)
	mustAdoptOne(t, d, answered(1), PendingClaim{ClaimRecord: note(2), Answer: &a})
}
