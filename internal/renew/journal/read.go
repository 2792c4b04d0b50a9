package journal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// contents is what a file says.
type contents struct {
	pending pendingClaims
	seq     uint64 // number of the last record
	size    int64  // where the next one goes
	torn    bool   // something incomplete is behind that
}

// read reads the file that is named after id. What a crash leaves at the end of a
// file is passed over: a record that is not all there, or room that the file
// system had not filled yet. Such a record was never acknowledged. Anything
// else that is not as it was written is [ErrDamaged]; then the contents are what
// could be read in spite of it.
func read(key, id []byte, file io.Reader) (*sealer, contents, error) {
	r := bufio.NewReader(file)
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(r, header); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, contents{}, fmt.Errorf("%w: its header is cut off", ErrDamaged) // It had a header before it had its name.
	} else if err != nil {
		return nil, contents{}, err
	}
	s, err := openHeader(key, id, header)
	if err != nil {
		return nil, contents{}, err
	}
	c, err := readRecords(s, r)
	return s, c, err
}

func readRecords(s *sealer, r io.Reader) (contents, error) {
	c := contents{size: int64(headerSize)}
	var damage error
	for {
		sealed, err := nextRecord(r)
		switch {
		case errors.Is(err, io.EOF):
			return c, damage
		case errors.Is(err, io.ErrUnexpectedEOF):
			c.torn = true
			return c, damage
		case err != nil:
			return c, err
		}
		c.seq++
		c.size += int64(frameSize + len(sealed))
		record, err := s.open(c.seq, sealed)
		if err == nil {
			err = c.pending.apply(record)
		}
		if err != nil && damage == nil {
			damage = fmt.Errorf("%w: record %d: %w", ErrDamaged, c.seq, err)
		}
	}
}

// nextRecord returns the next sealed record: [io.EOF] behind the last one,
// [io.ErrUnexpectedEOF] if it is what a crash leaves.
func nextRecord(r io.Reader) ([]byte, error) {
	start := make([]byte, frameSize)
	if _, err := io.ReadFull(r, start); err != nil {
		return nil, err
	}
	length, ok := frameLength(start)
	if !ok {
		return nil, unfilled(io.MultiReader(bytes.NewReader(start), r))
	}
	sealed := make([]byte, length)
	_, err := io.ReadFull(r, sealed)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return sealed, err
}

// unfilled tells room that was never filled from a damaged frame.
func unfilled(r io.Reader) error {
	buffer := make([]byte, 4<<10)
	for {
		n, err := r.Read(buffer)
		switch {
		case len(bytes.Trim(buffer[:n], "\x00")) > 0:
			return fmt.Errorf("%w: the length of a record was changed", ErrDamaged)
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
}
