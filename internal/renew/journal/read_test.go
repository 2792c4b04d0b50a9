package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// written is a file, and what it says after each of its records.
type written struct {
	id     string
	data   []byte
	ends   []int            // where the header and each record end
	states [][]PendingClaim // what is unsettled then
}

// writeSome makes a file with records of each kind.
func writeSome(t testing.TB, d *Disk) written {
	t.Helper()
	f := openFile(t, d)
	w := written{id: f.id}
	note1 := func() {
		w.ends = append(w.ends, int(f.size))
		w.states = append(w.states, f.Unsettled())
	}
	note1()
	for _, step := range []func() error{
		func() error { return f.Claim(note(1)) },
		func() error { return f.Claim(note(2)) },
		func() error { return f.Answer(nonce(1), answer(1)) },
		func() error { return f.Settle(nonce(2)) },
		func() error { return f.Claim(note(3)) },
		func() error { return f.Answer(nonce(3), answer(3)) },
	} {
		must(t, step())
		note1()
	}
	w.data = content(t, f)
	if len(w.data) != w.ends[len(w.ends)-1] {
		t.Fatalf("the file has %d bytes, its records end at %d", len(w.data), w.ends[len(w.ends)-1])
	}
	return w
}

// state is what the records say that are whole in the first n bytes.
func (w written) state(n int) []PendingClaim {
	var state []PendingClaim
	for i, end := range w.ends {
		if end <= n {
			state = w.states[i]
		}
	}
	return state
}

// records are the framed records.
func (w written) records() [][]byte {
	var records [][]byte
	for i, end := range w.ends[1:] {
		records = append(records, w.data[w.ends[i]:end])
	}
	return records
}

func (w written) read(data []byte) (contents, error) {
	id, _ := hex.DecodeString(w.id)
	_, c, err := read(testKey, id, bytes.NewReader(data))
	return c, err
}

func TestTornTailIsPassedOverAtEveryOffset(t *testing.T) {
	w := writeSome(t, testDisk(t, t.TempDir()))
	for n := range len(w.data) + 1 {
		for tail, zeros := range map[string]int{"short": 0, "some zeros": 9, "many zeros": 5000} {
			if zeros > 0 && !slices.Contains(w.ends, n) {
				continue // Room that was not filled begins where a record would.
			}
			c, err := w.read(append(slices.Clone(w.data[:n]), make([]byte, zeros)...))
			if n < headerSize {
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("%d bytes: error %v, want ErrDamaged", n, err)
				}
				continue
			}
			if err != nil || !sameEntries(c.pending, w.state(n)) {
				t.Errorf("%d bytes, %s: %+v, error %v; want %+v", n, tail, c.pending, err, w.state(n))
			}
			if torn := zeros > 0 || !slices.Contains(w.ends, n); c.torn != torn {
				t.Errorf("%d bytes, %s: torn is %v", n, tail, c.torn)
			}
		}
	}
}

func TestTornFileCanBeAdoptedAndWritten(t *testing.T) {
	w := writeSome(t, testDisk(t, t.TempDir()))
	last := w.records()[5]
	for _, tail := range [][]byte{nil, {0}, {1, 2, 3}, make([]byte, 7000), last[:20], last[:len(last)-1]} {
		d := put(t, w.id, append(slices.Clone(w.data), tail...))
		f := mustAdoptOne(t, d, answered(1), answered(3))
		must(t, f.Settle(nonce(1)))
		must(t, f.Close())
		f = mustAdoptOne(t, d, answered(3))
		must(t, f.Settle(nonce(3)))
		must(t, f.Close())
		if names, err := os.ReadDir(d.dir); err != nil || len(names) > 0 {
			t.Errorf("%v is left, error %v", names, err)
		}
	}
}

func TestFileWithNothingUnsettledIsRemovedTornOrNot(t *testing.T) {
	f := openFile(t, testDisk(t, t.TempDir()))
	for _, tail := range []string{"", "torn"} {
		d := put(t, f.id, append(content(t, f), tail...))
		adoptAll(t, d)
		if names, err := os.ReadDir(d.dir); err != nil || len(names) > 0 {
			t.Errorf("%v is left, error %v", names, err)
		}
	}
}

func TestEveryFlippedBitIsDetected(t *testing.T) {
	w := writeSome(t, testDisk(t, t.TempDir()))
	for i := range w.data {
		for bit := range 8 {
			data := slices.Clone(w.data)
			data[i] ^= 1 << bit
			c, err := w.read(data)
			if !errors.Is(err, ErrDamaged) || errors.Is(err, ErrForeign) {
				t.Fatalf("bit %d of byte %d: %+v, error %v", bit, i, c.pending, err)
			}
		}
	}
}

func TestRecordsOpenInTheirPlaceAlone(t *testing.T) {
	d := testDisk(t, t.TempDir())
	w := writeSome(t, d)
	other := writeSome(t, d)
	r := w.records()
	header := w.data[:headerSize]
	tests := map[string][][]byte{
		"the first taken away":      r[1:],
		"one taken away":            slices.Delete(slices.Clone(r), 2, 3),
		"the last but one":          slices.Delete(slices.Clone(r), len(r)-2, len(r)-1),
		"one repeated":              slices.Insert(slices.Clone(r), 1, r[0]),
		"the last repeated":         append(slices.Clone(r), r[len(r)-1]),
		"two exchanged":             append([][]byte{r[1], r[0]}, r[2:]...),
		"another file's":            append(slices.Clone(r[:len(r)-1]), other.records()[len(r)-1]),
		"another file's appended":   append(slices.Clone(r), other.records()[1]),
		"all another file's":        other.records(),
		"a length of nothing":       append(slices.Clone(r), frame(nil)),
		"a length of next to it":    append(slices.Clone(r), frame([]byte("short"))),
		"a record of nothing known": append(slices.Clone(r), w.sealed(t, len(r)+1, []byte("?"))),
		"an empty record":           append(slices.Clone(r), w.sealed(t, len(r)+1, nil)),
		"an answer to nothing":      append(slices.Clone(r), w.sealed(t, len(r)+1, joinRecord(kindAnswer, []byte("n"), nil, nil, nil))),
	}
	for name, records := range tests {
		t.Run(name, func(t *testing.T) {
			data := slices.Concat(append([][]byte{header}, records...)...)
			disk := put(t, w.id, data)
			left := mustLeave(t, disk, ErrDamaged)
			if left.Path != disk.path(w.id) || !strings.Contains(left.Error(), left.Path) {
				t.Errorf("error %q does not name the file", left)
			}
			for _, e := range left.Answered {
				if !reflect.DeepEqual(e, answered(1)) && !reflect.DeepEqual(e, answered(3)) {
					t.Errorf("made up %+v", e)
				}
			}
			if after, err := os.ReadFile(disk.path(w.id)); err != nil || !bytes.Equal(after, data) {
				t.Errorf("the file was changed; error %v", err)
			}
			mustLeave(t, disk, ErrDamaged) // It is not kept locked.
		})
	}
}

func (w written) sealed(t *testing.T, seq int, record []byte) []byte {
	t.Helper()
	id, _ := hex.DecodeString(w.id)
	s, err := openHeader(testKey, id, w.data[:headerSize])
	must(t, err)
	return frame(s.seal(uint64(seq), record))
}

func TestDamagedFileStillTellsItsAnswers(t *testing.T) {
	w := writeSome(t, testDisk(t, t.TempDir()))
	data := slices.Clone(w.data)
	data[w.ends[4]-1]++ // The settlement of 2, which has no answer.
	left := mustLeave(t, put(t, w.id, data), ErrDamaged)
	wantEntries(t, left.Answered, answered(1), answered(3))
	if !strings.Contains(left.Error(), "record 4") {
		t.Errorf("error %q does not say where", left)
	}
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	d := testDisk(t, t.TempDir())
	f := openFile(t, d)
	must(t, f.Claim(note(1)))
	must(t, f.file.Close())
	before := content(t, f)

	other, err := NewDisk(d.dir, bytes.Repeat([]byte{8}, KeySize))
	must(t, err)
	for range 2 {
		if left := mustLeave(t, other, ErrForeign); errors.Is(left, ErrDamaged) || left.Path != d.path(f.id) {
			t.Errorf("left as %v", left)
		}
	}
	if !bytes.Equal(content(t, f), before) {
		t.Error("the file was changed")
	}
	mustAdoptOne(t, d, open(1))
}

func TestRenamedFileIsDamaged(t *testing.T) {
	w := writeSome(t, testDisk(t, t.TempDir()))
	mustLeave(t, put(t, strings.Repeat("ab", idSize), w.data), ErrDamaged)
}

func TestOtherContentIsDamaged(t *testing.T) {
	w := writeSome(t, testDisk(t, t.TempDir()))
	newer := slices.Clone(w.data)
	newer[len(magic)-2] = '2'
	for name, data := range map[string][]byte{
		"empty": nil, "zeros": make([]byte, 4096), "text": bytes.Repeat([]byte("text "), 100), "another release's": newer,
	} {
		t.Run(name, func(t *testing.T) { mustLeave(t, put(t, w.id, data), ErrDamaged) })
	}
}

func TestNothingShowsInTheFile(t *testing.T) {
	f := openFile(t, testDisk(t, t.TempDir()))
	must(t, f.Claim(note(1)))
	must(t, f.Answer(nonce(1), answer(1)))
	must(t, f.Settle(nonce(1)))
	data := content(t, f)
	for _, secret := range []string{"billing", "tenant1", "nonce1", "abcd", "spent1", "refresh_token", "new1", string(testKey)} {
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("%q is in the file", secret)
		}
	}
}

func TestEqualRecordsAreSealedDifferently(t *testing.T) {
	s, _, err := newSealer(testKey, make([]byte, idSize))
	must(t, err)
	other, _, err := newSealer(testKey, make([]byte, idSize))
	must(t, err)
	record := claimRecord(note(1))
	if bytes.Equal(s.seal(1, record), s.seal(1, record)) {
		t.Error("a number that is used again has the same nonce")
	}
	if _, err := other.open(1, s.seal(1, record)); err == nil {
		t.Error("a file that is written anew under its id opens its old records")
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	e := answered(1)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, value := range []any{e, &e, *e.Answer, e.Answer, []PendingClaim{e}, []Answer{*e.Answer}} {
			if text := fmt.Sprintf(format, value); strings.Contains(text, "spent1") || strings.Contains(text, "new1") {
				t.Errorf("%s of %T shows %q", format, value, text)
			}
		}
	}
}

func sameEntries(got, want []PendingClaim) bool {
	return len(got) == 0 && len(want) == 0 || reflect.DeepEqual(got, want)
}

func FuzzRead(f *testing.F) {
	w := writeSome(f, testDisk(f, f.TempDir()))
	id, _ := hex.DecodeString(w.id)
	f.Add(id, w.data)
	for _, end := range w.ends {
		f.Add(id, w.data[:end])
		f.Add(id, w.data[:end-5])
	}
	f.Add(id, append(slices.Clone(w.data), make([]byte, 100)...))
	f.Add(id, append(slices.Clone(w.data), w.records()[0]...))
	f.Add([]byte{}, []byte(magic))

	// Whatever is read has been written by somebody who has the key, which are
	// this run and others that wrote the same.
	known := []PendingClaim{open(1), open(2), open(3), answered(1), answered(3)}
	f.Fuzz(func(t *testing.T, id, data []byte) {
		_, c, err := read(testKey, id, bytes.NewReader(data))
		for _, e := range c.pending {
			if !slices.ContainsFunc(known, func(k PendingClaim) bool { return reflect.DeepEqual(k, e) }) {
				t.Fatalf("made up %+v", e)
			}
		}
		if err == nil && (c.size > int64(len(data)) || c.torn != (c.size < int64(len(data)))) {
			t.Fatalf("%d of %d bytes are used, torn %v", c.size, len(data), c.torn)
		}
	})
}

func FuzzRecord(f *testing.F) {
	for _, n := range []pendingClaims{{open(1)}, {answered(2)}} {
		records, err := n.records()
		must(f, err)
		for _, record := range records {
			f.Add(record)
		}
	}
	f.Add(settledRecord(nonce(1)))
	f.Add([]byte{kindClaim, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, record []byte) {
		n := pendingClaims{open(1), answered(2)}
		if err := n.apply(record); err != nil {
			return
		}
		records, err := n.records()
		must(t, err)
		var again pendingClaims
		for _, r := range records {
			must(t, again.apply(r))
		}
		if !sameEntries(again, n) {
			t.Fatalf("%+v was written as %+v", n, again)
		}
	})
}
