//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package journal

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func init() {
	children["write"] = writeForEver
	children["adopt"] = adoptAndHold
	children["breed"] = openAndStartAnother
	children["hold"] = func(string) { say("ready"); holdOn() }
}

// say prints a line in one write, so that none is torn.
func say(words ...any) { _, _ = fmt.Fprintln(os.Stdout, words...) }

func check(err error) {
	if err != nil {
		say("error", err)
		os.Exit(1)
	}
}

// holdOn waits until the parent lets go or is gone.
func holdOn() { _, _ = io.Copy(io.Discard, os.Stdin) }

type child struct {
	*exec.Cmd
	*bufio.Scanner
	stdin io.Closer
}

// start starts this binary again as the child of that name.
func start(t *testing.T, name, dir string, set func(*exec.Cmd)) *child {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), childMode+"="+name, childDir+"="+dir)
	command.Stderr = os.Stderr
	if set != nil {
		set(command)
	}
	stdin, err := command.StdinPipe()
	must(t, err)
	stdout, err := command.StdoutPipe()
	must(t, err)
	if err := command.Start(); err != nil {
		t.Skipf("cannot start the child: %v", err)
	}
	// Whatever goes wrong, no test waits for a child for ever.
	deadline := time.AfterFunc(time.Minute, func() { _ = command.Process.Kill() })
	t.Cleanup(func() {
		deadline.Stop()
		_ = stdin.Close()
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return &child{Cmd: command, Scanner: bufio.NewScanner(stdout), stdin: stdin}
}

// next returns the child's next line, which must begin with that word, without it.
func (c *child) next(t *testing.T, word string) string {
	t.Helper()
	if !c.Scan() {
		t.Fatalf("the child ended; want %q", word)
	}
	rest, ok := strings.CutPrefix(c.Text(), word)
	if !ok {
		t.Fatalf("the child says %q, want %q", c.Text(), word)
	}
	return strings.TrimSpace(rest)
}

func (c *child) kill(t *testing.T) {
	t.Helper()
	must(t, c.Process.Kill())
	_ = c.Wait() // "signal: killed"
}

const crashWriters = 4

// crashAnswer is long enough for the file to be rewritten now and then.
func crashAnswer(i int) Answer { return large(i, 1+i%7*20<<10) }

// writeForEver says what it is about to do and what has been acknowledged.
func writeForEver(dir string) {
	d, err := NewDisk(dir, testKey)
	check(err)
	j, err := d.Open()
	check(err)
	say("ready", j.ID())
	var group sync.WaitGroup
	for w := range crashWriters {
		group.Go(func() {
			for n := 0; ; n++ {
				i := n*crashWriters + w
				say("claiming", i)
				check(j.Claim(note(i)))
				say("claimed", i)
				if i%5 > 0 {
					check(j.Answer(nonce(i), crashAnswer(i)))
					say("answered", i)
				}
				if i%11 > 0 {
					say("settling", i)
					check(j.Settle(nonce(i)))
					say("settled", i)
				}
			}
		})
	}
	group.Wait()
}

func TestWhatIsAcknowledgedSurvivesAKill(t *testing.T) {
	for range 8 {
		d := testDisk(t, t.TempDir())
		c := start(t, "write", d.dir, nil)
		id := c.next(t, "ready")
		said := make(map[int]string) // the last said of each
		end := rand.IntN(800)
		for lines := 0; c.Scan(); lines++ {
			var what string
			var i int
			if _, err := fmt.Sscan(c.Text(), &what, &i); err != nil {
				t.Fatalf("the child says %q", c.Text())
			}
			said[i] = what
			if lines == end {
				must(t, c.Process.Kill())
			}
		}
		_ = c.Wait()

		files := adoptAll(t, d)
		got := make(map[int]PendingClaim)
		for _, f := range files {
			if f.id != id {
				t.Fatalf("adopted %s, want %s", f.id, id)
			}
			for _, e := range f.Unsettled() {
				var i int
				if _, err := fmt.Sscanf(e.Nonce, "nonce%d", &i); err != nil || !reflect.DeepEqual(e.ClaimRecord, note(i)) || said[i] == "" || said[i] == "settled" {
					t.Errorf("found %+v, of which was said %q", e.ClaimRecord, said[i])
				}
				if want := crashAnswer(i); e.Answer != nil && !reflect.DeepEqual(*e.Answer, want) {
					t.Errorf("answer %d is another", i)
				}
				got[i] = e
			}
		}
		for i, what := range said {
			e, found := got[i]
			switch {
			case (what == "claimed" || what == "answered") && !found:
				t.Errorf("%d was %s and is lost", i, what)
			case (what == "answered" || what == "settling" && i%5 > 0) && found && e.Answer == nil:
				t.Errorf("%d was %s and its answer is lost", i, what)
			}
		}
	}
}

func adoptAndHold(dir string) {
	d, err := NewDisk(dir, testKey)
	check(err)
	say("ready")
	_, _ = os.Stdin.Read(make([]byte, 1)) // All begin together.
	adopted, left, err := d.Adopt()
	check(err)
	for _, a := range adopted {
		say("adopted", a.ID())
	}
	for _, l := range left {
		say("left", l)
	}
	say("end")
	holdOn()
}

func TestSeveralProcessesAdoptEachJournalOnce(t *testing.T) {
	const processes, journals = 5, 12
	d := testDisk(t, t.TempDir())
	var want []string
	for i := range journals {
		f := openFile(t, d)
		must(t, f.Claim(note(i)))
		must(t, f.file.Close())
		want = append(want, f.id)
	}
	var adopters []*child
	for range processes {
		c := start(t, "adopt", d.dir, nil)
		c.next(t, "ready")
		adopters = append(adopters, c)
	}
	for _, c := range adopters {
		_, err := c.stdin.(io.Writer).Write([]byte("g"))
		must(t, err)
	}
	held := make(map[*child][]string)
	var got []string
	for _, c := range adopters {
		for c.Scan() && c.Text() != "end" {
			id, ok := strings.CutPrefix(c.Text(), "adopted ")
			if !ok {
				t.Fatalf("the child says %q", c.Text())
			}
			held[c] = append(held[c], id)
			got = append(got, id)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("adopted are %v, want each of %v", got, want)
	}
	adoptNone(t, d)
	for _, c := range adopters { // What a dead adopter had is free again.
		c.kill(t)
		var again []string
		for _, f := range adoptAll(t, d) {
			again = append(again, f.id)
		}
		slices.Sort(again)
		slices.Sort(held[c])
		if !slices.Equal(again, held[c]) {
			t.Errorf("adopted after it died are %v, want %v", again, held[c])
		}
	}
}

// openAndStartAnother leaves a child behind when it is killed.
func openAndStartAnother(dir string) {
	d, err := NewDisk(dir, testKey)
	check(err)
	j, err := d.Open()
	check(err)
	check(j.Claim(note(1)))
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), childMode+"=hold")
	other.Stdin, other.Stdout = os.Stdin, os.Stdout
	check(other.Start())
	holdOn()
}

func TestLockIsNotInheritedByAChild(t *testing.T) {
	d := testDisk(t, t.TempDir())
	c := start(t, "breed", d.dir, nil)
	c.next(t, "ready") // The child's child runs, and ends with the pipe to it.
	adoptNone(t, d)
	must(t, c.Process.Kill())
	_, err := c.Process.Wait() // Not for its output, which the other still has.
	must(t, err)
	mustAdoptOne(t, d, open(1))
}
