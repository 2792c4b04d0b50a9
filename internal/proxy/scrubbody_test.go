package proxy

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// cover does at once what a scrubbedBody does bit by bit.
func cover(text string, forms []string) string {
	covered := []byte(text)
	for _, form := range forms {
		for i := range len(text) - len(form) + 1 {
			if text[i:i+len(form)] == form {
				copy(covered[i:], strings.Repeat("*", len(form)))
			}
		}
	}
	return string(covered)
}

// piecemeal is a body that comes in pieces of any length.
type piecemeal struct {
	io.Reader
	next func() int
}

func (r *piecemeal) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), r.next())]) }

func scrubbedText(t testing.TB, body io.Reader, forms []string) string {
	t.Helper()
	res := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body)}
	scrubBody(res, forms)
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// FuzzSecretsInABody has few letters, so that secrets repeat and overlap.
func FuzzSecretsInABody(f *testing.F) {
	f.Add("abcabcabd", "abcabd", "cabc", uint64(1))
	f.Add("aaaaaaaaa", "aaa", "aa", uint64(2))
	f.Add("xxabababc", "ababc", "b", uint64(3))
	f.Fuzz(func(t *testing.T, text, one, other string, seed uint64) {
		if one == "" || other == "" {
			return
		}
		few := func(s string) string {
			return strings.Map(func(r rune) rune { return 'a' + r%3 }, s)
		}
		text, forms := few(text), []string{few(one), few(other)}
		random := rand.New(rand.NewPCG(seed, 0))
		body := &piecemeal{strings.NewReader(text), func() int { return 1 + random.IntN(4) }}
		if got, want := scrubbedText(t, body, forms), cover(text, forms); got != want {
			t.Errorf("%q without %q is %q, want %q", text, forms, got, want)
		}
	})
}

func TestSecretsAcrossTheBordersOfPieces(t *testing.T) {
	forms := []string{"canary-secret", "Y2FuYXJ5LXNlY3JldA"}
	for range 300 {
		var text strings.Builder
		for range 1 + rand.IntN(30) {
			text.WriteString([]string{"canary-", forms[0], forms[1], "Y2F", strings.Repeat("-", rand.IntN(70_000))}[rand.IntN(5)])
		}
		body := &piecemeal{strings.NewReader(text.String()), func() int { return 1 + rand.IntN(40_000) }}
		if got, want := scrubbedText(t, body, forms), cover(text.String(), forms); got != want {
			t.Fatalf("of %d bytes, got %d", len(want), len(got))
		}
	}
}

// What is kept back is all of a piece, and begins in a secret that was whole before it.
func TestSecretWhoseEndBeginsAnother(t *testing.T) {
	pieces := []string{"x key-12345-key-", "1", "zzz"}
	var readers []io.Reader
	for _, piece := range pieces {
		readers = append(readers, strings.NewReader(piece))
	}
	if got := scrubbedText(t, io.MultiReader(readers...), []string{"key-12345-key-"}); got != "x **************1zzz" {
		t.Errorf("got %q", got)
	}
}

// A stream whose end is no beginning of a secret is passed on at once.
func TestStreamIsNotKeptBack(t *testing.T) {
	read, write := io.Pipe()
	defer write.Close()
	res := &http.Response{StatusCode: 200, Header: http.Header{}, Body: read}
	scrubBody(res, []string{"canary-secret"})
	go io.WriteString(write, "data: of canary-secret\n\n")
	event := make([]byte, len("data: of *************\n\n"))
	if _, err := io.ReadFull(res.Body, event); err != nil || string(event) != "data: of *************\n\n" {
		t.Errorf("%q %v", event, err)
	}
}

func TestErrorOfABodyComesAfterWhatItHad(t *testing.T) {
	body := io.MultiReader(strings.NewReader("canary-sec"), iotest.ErrReader(io.ErrUnexpectedEOF))
	res := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body)}
	scrubBody(res, []string{"canary-secret"})
	text, err := io.ReadAll(res.Body)
	if string(text) != "canary-sec" || err != io.ErrUnexpectedEOF { //nolint:errorlint // as it is
		t.Errorf("%q %v", text, err)
	}
}

func BenchmarkScrubBody(b *testing.B) {
	const size = 1 << 20
	body := bytes.Repeat([]byte(`{"id":1,"name":"eyJhbGciOi and other text"},`), size/44)
	x, _ := newExchange(b)
	forms := x.formsOf("eyJhbGciOiJSUzI1NiJ9." + strings.Repeat("eyJpc3MiOiJo", 40) + "." + strings.Repeat("c2lnbmF0", 40))
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		res := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}
		scrubBody(res, forms)
		_, _ = io.Copy(io.Discard, res.Body)
	}
}
