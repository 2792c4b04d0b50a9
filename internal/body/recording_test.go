package body

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
)

var quiet = slog.New(slog.DiscardHandler)

func smallLimits(t testing.TB, maxBody, memory int64) Limits {
	return Limits{MaxBody: maxBody, Memory: memory, Dir: t.TempDir()}
}

func record(source io.Reader, length int64, limits Limits) *Recording {
	return New(source, new(http.Header), length, true, limits, quiet)
}

// lostBecause returns why r is not whole, "" if it is.
func (r *Recording) lostBecause() SkipReason {
	r.mu.Lock()
	defer r.mu.Unlock()
	if (r.lost == "") != r.whole {
		panic("whole, and yet lost")
	}
	return r.lost
}

func TestCursorsReadTheWholeBodyFromTheStart(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 300_000} {
		for name, limits := range map[string]Limits{
			"memory and file":  smallLimits(t, 300_000, 64<<10),
			"file alone":       smallLimits(t, 300_000, 0),
			"memory alone":     {MaxBody: 300_000},
			"odd memory":       smallLimits(t, 300_000, 5001),
			"shared memory":    {MaxBody: 300_000, Memory: 5001, Shared: NewSharedMemory(1 << 20), Dir: "/dev/null/not"},
			"shared, and file": {MaxBody: 300_000, Memory: 5001, Shared: NewSharedMemory(64 << 10), Dir: t.TempDir()},
		} {
			for _, length := range []int64{-1, int64(size)} {
				t.Run(fmt.Sprintf("%d of %d in %s", size, length, name), func(t *testing.T) {
					body := bodytest.RandomBytes(size)
					r := record(bytes.NewReader(body), length, limits)
					defer r.Close()
					first, second := r.Open(nil, nil), r.Open(nil, nil)
					bodytest.MustRead(t, first, body)
					bodytest.MustRead(t, bodytest.ReaderFunc(func(p []byte) (int, error) { return second.Read(p[:min(len(p), 101)]) }), body)
					bodytest.MustRead(t, r.Restart(nil, nil), body)
					if !r.IsWhole() {
						t.Fatal("not whole")
					}
				})
			}
		}
	}
}

func TestTheEndComesWithTheLastBytes(t *testing.T) {
	// So that the transport can say with them that they are the last.
	for name, limits := range map[string]Limits{"memory": {MaxBody: 100}, "file": smallLimits(t, 100, 0)} {
		t.Run(name, func(t *testing.T) {
			body := strings.NewReader("body")
			r := record(bodytest.ReaderFunc(func(p []byte) (int, error) { n, _ := body.Read(p); return n, io.EOF }), -1, limits)
			defer r.Close()
			for range 2 {
				p := make([]byte, 10)
				if n, err := r.Restart(nil, nil).Read(p); n != 4 || err != io.EOF {
					t.Fatal(n, err)
				}
			}
		})
	}
}

func TestLimitIsExact(t *testing.T) {
	const limit = 100_000
	for name, limits := range map[string]Limits{
		"file":   smallLimits(t, limit, 10_000),
		"memory": {MaxBody: limit},
	} {
		for _, test := range []struct {
			size, length int64
			replayable   bool
		}{
			{limit, limit, true}, {limit, -1, true},
			{limit + 1, limit + 1, false}, {limit + 1, -1, false},
			{3 * limit, -1, false}, {3 * limit, 3 * limit, false},
		} {
			t.Run(fmt.Sprintf("%d of %d in %s", test.size, test.length, name), func(t *testing.T) {
				body := bodytest.RandomBytes(int(test.size))
				r := record(bytes.NewReader(body), test.length, limits)
				defer r.Close()
				bodytest.MustRead(t, r.Restart(nil, nil), body)
				ok, reason := r.IsWhole(), r.lostBecause()
				if ok != test.replayable {
					t.Fatalf("replayable %v", ok)
				}
				next := r.Restart(nil, nil)
				if ok {
					bodytest.MustRead(t, next, body)
					return
				}
				if reason != TooLarge {
					t.Fatalf("reason %q", reason)
				}
				if n, err := next.Read(make([]byte, 10)); n != 0 || !errors.Is(err, ErrGone) {
					t.Fatalf("a second reader got %d bytes, %v", n, err)
				}
				if len(r.memory) > 0 || r.file != nil {
					t.Fatal("the recording was kept")
				}
			})
		}
	}
}

func TestBodyKnownToBeTooLongIsNeverRecorded(t *testing.T) {
	body := bodytest.RandomBytes(200_000)
	r := record(bytes.NewReader(body), int64(len(body)), smallLimits(t, 100_000, 10_000))
	defer r.Close()
	if reason := r.lostBecause(); reason != TooLarge {
		t.Fatalf("lost because %q", reason)
	}
	c := r.Restart(nil, nil)
	if _, err := io.ReadFull(c, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if len(r.memory) > 0 || r.file != nil {
		t.Fatal("it is recorded")
	}
	bodytest.MustRead(t, c, body[10:])
}

func TestUnreadBodyAboveTheLimitCanStillBeSentElsewhere(t *testing.T) {
	body := bodytest.RandomBytes(200_000)
	r := record(bytes.NewReader(body), int64(len(body)), Limits{MaxBody: 10})
	defer r.Close()
	r.Restart(nil, nil).Close() // a dial that failed
	bodytest.MustRead(t, r.Restart(nil, nil), body)
}

func TestWhatTheClientSendsIsHandedOutAtOnce(t *testing.T) {
	client, sender := io.Pipe()
	r := record(client, -1, smallLimits(t, 1<<20, 10))
	defer r.Close()
	c := r.Restart(nil, nil)
	buf := make([]byte, 100)
	for i := range 10 {
		part := fmt.Appendf(nil, "part %d", i)
		go sender.Write(part)
		n, err := c.Read(buf)
		if err != nil || !bytes.HasPrefix(part, buf[:n]) || n == 0 {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		if n < len(part) { // The memory tier ended within it.
			if _, err := io.ReadFull(c, buf[:len(part)-n]); err != nil {
				t.Fatal(err)
			}
		}
	}
	sender.Close()
}

type readResult struct {
	data []byte
	err  error
}

func readAsync(r io.Reader) <-chan readResult {
	done := make(chan readResult, 1)
	go func() {
		p := make([]byte, 100)
		n, err := r.Read(p)
		done <- readResult{p[:n], err}
	}()
	return done
}

func TestStaleReadServesTheNextAttempt(t *testing.T) {
	for name, limits := range map[string]Limits{
		"in memory":            {MaxBody: 1 << 20},
		"in the file":          smallLimits(t, 1<<20, 0),
		"beyond the limit":     smallLimits(t, 4, 0),
		"where the file fails": {MaxBody: 1 << 20, Dir: filepath.Join(t.TempDir(), "missing")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := bodytest.NewGate()
				r := record(client, -1, limits)
				first := r.Restart(nil, nil)
				stale := readAsync(first)
				synctest.Wait()
				second := r.Restart(nil, nil)
				next := readAsync(second)
				synctest.Wait()
				select {
				case got := <-next:
					t.Fatalf("the second attempt did not wait: %q, %v", got.data, got.err)
				default:
				}

				client.Answers <- []byte("hello")
				if got := <-stale; len(got.data) > 0 || !errors.Is(got.err, http.ErrBodyReadAfterClose) {
					t.Fatalf("the stale reader got %q, %v", got.data, got.err)
				}
				if got := <-next; got.err != nil || string(got.data) != "hello" {
					t.Fatalf("the second attempt got %q, %v", got.data, got.err)
				}
				if reads := len(client.Asked); reads != 1 {
					t.Fatalf("%d reads of the client", reads)
				}
				next = readAsync(second)
				client.Answers <- io.EOF
				if got := <-next; got.err != io.EOF {
					t.Fatal(got.err)
				}
				r.Close()
			})
		})
	}
}

// TestRewoundBodyIsReadWhole has the read of the client that is under way find the
// body too long after the replay was decided on.
func TestRewoundBodyIsReadWhole(t *testing.T) {
	for name, limits := range map[string]Limits{"memory": {MaxBody: 4}, "file": smallLimits(t, 4, 1)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := bodytest.NewGate()
				r := record(client, -1, limits)
				defer r.Close()
				first := r.Restart(nil, nil)
				for _, part := range []string{"a", "bcd"} {
					got := readAsync(first)
					client.Answers <- []byte(part)
					if got := <-got; string(got.data) != part {
						t.Fatalf("%q, %v", got.data, got.err)
					}
				}
				stale := readAsync(first)
				synctest.Wait()
				if reason := r.Rewind(); reason != "" {
					t.Fatal(reason)
				}
				client.Answers <- []byte("efgh")
				<-stale
				if r.IsWhole() {
					t.Fatal("it is not too long")
				}
				second := r.Restart(nil, nil)
				got := make([]byte, 8)
				if _, err := io.ReadFull(second, got); err != nil || string(got) != "abcdefgh" {
					t.Fatalf("%q, %v", got, err)
				}
			})
		})
	}
}

func TestBodyThatCannotBeRewoundStreamsOn(t *testing.T) {
	body := bodytest.RandomBytes(100_000)
	r := record(bytes.NewReader(body), -1, Limits{MaxBody: 10})
	defer r.Close()
	c := r.Restart(nil, nil)
	if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if reason := r.Rewind(); reason != TooLarge {
		t.Fatalf("%q", reason)
	}
	bodytest.MustRead(t, c, body[100:])
}

func TestCloseReturnsAtOnceAndWakesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := bodytest.NewGate()
		r := record(client, -1, Limits{MaxBody: 100})
		first, second := r.Open(nil, nil), r.Open(nil, nil)
		reading := readAsync(first)
		synctest.Wait()
		waiting := readAsync(second)
		synctest.Wait()

		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
		if got := <-waiting; !errors.Is(got.err, http.ErrBodyReadAfterClose) {
			t.Fatal(got.err)
		}
		if err := first.Close(); err != nil { // While it reads the client.
			t.Fatal(err)
		}
		third := readAsync(r.Open(nil, nil))
		synctest.Wait()
		r.Close()
		if got := <-third; !errors.Is(got.err, http.ErrBodyReadAfterClose) {
			t.Fatal(got.err)
		}
		client.Answers <- []byte("late")
		if got := <-reading; len(got.data) > 0 || !errors.Is(got.err, http.ErrBodyReadAfterClose) {
			t.Fatalf("%q, %v", got.data, got.err)
		}
		if n := len(client.Asked); n != 1 {
			t.Fatalf("%d reads of the client", n)
		}
		if _, err := r.Open(nil, nil).Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Fatal(err)
		}
	})
}

func TestClientsErrorIsKeptAsItCame(t *testing.T) {
	limited := http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("0123456789")), 5)
	r := record(limited, -1, Limits{MaxBody: 100})
	defer r.Close()
	for range 2 {
		got, err := io.ReadAll(r.Restart(nil, nil))
		tooLarge, ok := err.(*http.MaxBytesError)
		if !ok || tooLarge.Limit != 5 || string(got) != "01234" {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

func TestImpossibleReadCountIsAnError(t *testing.T) {
	for _, n := range []int{-1, 1 << 20} {
		r := record(bodytest.ReaderFunc(func([]byte) (int, error) { return n, nil }), -1, Limits{MaxBody: 100})
		if _, err := r.Restart(nil, nil).Read(make([]byte, 10)); !errors.Is(err, errBadRead) {
			t.Fatal(err)
		}
		r.Close()
	}
}

func TestStopFreesWhatWasReadAndStreamsOn(t *testing.T) {
	body := bodytest.RandomBytes(500_000)
	for name, limits := range map[string]Limits{
		"memory": {MaxBody: 1 << 20}, "file": smallLimits(t, 1<<20, 50_000),
	} {
		t.Run(name, func(t *testing.T) {
			r := record(bytes.NewReader(body), -1, limits)
			defer r.Close()
			if _, err := io.CopyN(io.Discard, r.Restart(nil, nil), 200_000); err != nil {
				t.Fatal(err)
			}
			// A second attempt that lags behind keeps what it has still to read.
			c := r.Restart(nil, nil)
			if _, err := io.ReadFull(c, make([]byte, 100_000)); err != nil {
				t.Fatal(err)
			}
			r.Stop()
			if reason := r.lostBecause(); reason != NotRecorded {
				t.Fatalf("lost because %q", reason)
			}
			if len(r.memory) > 0 && r.memory[0].end() <= 100_000 {
				t.Fatal("what was read is kept")
			}
			late := r.Open(nil, nil)
			if _, err := late.Read(make([]byte, 1)); !errors.Is(err, ErrGone) {
				t.Fatal(err)
			}
			late.Close()
			bodytest.MustRead(t, c, body[100_000:])
			if len(r.memory) > 0 || r.file != nil {
				t.Fatal("the recording is kept")
			}
		})
	}
}

func TestFileHasNoNameAndIsPrivate(t *testing.T) {
	dir := t.TempDir()
	r := record(bytes.NewReader(bodytest.RandomBytes(100_000)), -1, Limits{MaxBody: 1 << 20, Memory: 10, Dir: dir})
	if _, err := io.Copy(io.Discard, r.Restart(nil, nil)); err != nil {
		t.Fatal(err)
	}
	info, err := r.file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != 100_000-10 || info.Mode().Perm() != 0o600 {
		t.Fatalf("%d bytes, %v", info.Size(), info.Mode())
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Fatal(names, err)
	}
	file := r.file
	r.Close()
	if _, err := file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Fatal("the file is still open")
	}
}

func TestFailingFileStopsTheRecordingNotTheStream(t *testing.T) {
	body := bodytest.RandomBytes(300_000)
	for name, breakIt := range map[string]func(r *Recording){
		"no directory":  func(r *Recording) { r.limits.Dir = os.DevNull },
		"write refused": func(r *Recording) { r.file, _ = os.Open(os.DevNull) },
	} {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			r := New(bytes.NewReader(body), new(http.Header), -1, true, smallLimits(t, 1<<20, 50_000), slog.New(slog.NewTextHandler(&logged, nil)))
			defer r.Close()
			c := r.Restart(nil, nil)
			breakIt(r)
			bodytest.MustRead(t, c, body)
			if reason := r.lostBecause(); reason != Failed {
				t.Fatalf("lost because %q", reason)
			}
			if _, err := r.Restart(nil, nil).Read(make([]byte, 1)); !errors.Is(err, ErrGone) {
				t.Fatal(err)
			}
			if n := strings.Count(logged.String(), "\n"); n != 1 {
				t.Fatalf("%d lines logged: %s", n, &logged)
			}
		})
	}
}

func TestUnreadableFileIsAnErrorNotAnEnd(t *testing.T) {
	body := bodytest.RandomBytes(100_000)
	r := record(bytes.NewReader(body), -1, smallLimits(t, 1<<20, 50_000))
	defer r.Close()
	bodytest.MustRead(t, r.Restart(nil, nil), body)
	if err := r.file.Truncate(10); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r.Restart(nil, nil))
	if err == nil {
		t.Fatalf("%d bytes were taken for the whole", len(got))
	}
}

func TestTrailersAreFilledBeforeTheEndIsReported(t *testing.T) {
	announced := http.Header{"X-Sum": nil}
	client := &bodytest.TrailerBody{Reader: strings.NewReader("body"), Trailer: announced, Values: http.Header{"X-Sum": {"1"}, "X-Api-Key": {"stolen"}}}
	r := New(client, &announced, -1, true, Limits{MaxBody: 100}, quiet)
	defer r.Close()
	for range 2 {
		own := http.Header{"X-Sum": nil}
		c := r.Restart(own, func(h http.Header) { h.Del("X-Api-Key") })
		bodytest.MustRead(t, c, []byte("body"))
		if len(own) != 1 || own.Get("X-Sum") != "1" {
			t.Fatalf("%v", own)
		}
		clear(own) // The transport's now.
		if _, err := c.Read(make([]byte, 1)); err != io.EOF || len(own) > 0 {
			t.Fatalf("%v, %v", own, err)
		}
	}
}
