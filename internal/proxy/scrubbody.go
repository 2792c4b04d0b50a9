package proxy

import (
	"bytes"
	"io"
	"net/http"
	"strings"
)

// scrubBody replaces secrets in the body of an answer, byte by byte, so that all that its
// header says of its length stays true. A body that is compressed all the same passes as it
// is.
func scrubBody(res *http.Response, forms []string) {
	switch encoding := res.Header.Get("Content-Encoding"); {
	case len(forms) == 0, encoding != "" && !strings.EqualFold(encoding, "identity"):
	case res.StatusCode == http.StatusSwitchingProtocols, res.Body == http.NoBody:
	default:
		body := &scrubbedBody{ReadCloser: res.Body}
		for _, form := range forms {
			body.forms = append(body.forms, []byte(form))
		}
		res.Body = body
	}
}

// scrubSize is how much of a body is read at a time.
const scrubSize = 32 << 10

// scrubbedBody is a body without secrets. What may be the beginning of one is kept back until
// it is known whether it is.
type scrubbedBody struct {
	io.ReadCloser
	forms [][]byte

	space   []byte // where buffer is
	buffer  []byte // what may be read, and after that what is kept back
	ready   int    // how much of buffer may be read
	covered int    // how much of what is kept back belongs to a secret that began before it
	err     error  // how the body ended
}

func (b *scrubbedBody) Read(p []byte) (int, error) {
	for b.ready == 0 && len(p) > 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.fill()
	}
	n := copy(p, b.buffer[:b.ready])
	b.buffer, b.ready = b.buffer[n:], b.ready-n
	return n, nil
}

// fill reads more, and covers the secrets that are whole.
func (b *scrubbedBody) fill() {
	kept := len(b.buffer)
	if len(b.space) < kept+scrubSize {
		b.space = append(make([]byte, 0, kept+scrubSize), b.buffer...)[:kept+scrubSize]
	} else {
		copy(b.space, b.buffer)
	}
	n, err := b.ReadCloser.Read(b.space[kept:])
	b.buffer, b.err = b.space[:kept+n], err
	b.ready = len(b.buffer)
	if err == nil {
		b.ready -= b.unfinished()
	}
	secrets := append(b.find(), stretch{0, b.covered})
	b.covered = max(0, b.covered-b.ready)
	for _, s := range secrets {
		for i := s.from; i < min(s.to, b.ready); i++ {
			b.buffer[i] = '*'
		}
		if s.from < b.ready {
			b.covered = max(b.covered, s.to-b.ready)
		}
	}
}

// unfinished returns the length of the longest end of the buffer with which a secret may
// begin.
func (b *scrubbedBody) unfinished() int {
	longest := 0
	for _, form := range b.forms {
		for n := min(len(form)-1, len(b.buffer)); n > longest; n-- {
			if end := b.buffer[len(b.buffer)-n:]; end[0] == form[0] && bytes.Equal(end, form[:n]) {
				longest = n
			}
		}
	}
	return longest
}

// stretch is a part of a buffer.
type stretch struct{ from, to int }

// find returns where secrets are, which may overlap.
func (b *scrubbedBody) find() (secrets []stretch) {
	for _, form := range b.forms {
		for start := 0; ; {
			i := bytes.Index(b.buffer[start:], form)
			if i < 0 {
				break
			}
			start += i
			secrets = append(secrets, stretch{start, start + len(form)})
			start++
		}
	}
	return secrets
}
