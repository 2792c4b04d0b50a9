package journal

import (
	"encoding/hex"
	"os"
)

// compactSize is the size in bytes from which a file is rewritten when more than
// half of it is about what is settled.
const compactSize = 1 << 20

// compact rewrites the file if that makes it much smaller. It is done before a
// claim, when nothing is lost yet if it fails. If it cannot be done, for want of
// room, say, the file is left to grow.
func (f *file) compact() error {
	f.flushing.Lock()
	defer f.flushing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.usable(); err != nil {
		return err
	}
	if f.size < f.compactAt {
		return nil
	}
	f.compactAt = 2 * f.size
	records, err := f.pending.records()
	if err != nil || 2*lengthOf(records) > f.size {
		return nil //nolint:nilerr // The file is as good as it was.
	}
	renamed, err := f.write(records)
	if renamed && err != nil {
		return f.fail(err) // The new file is in use, but its name may not be on the disk.
	}
	return nil
}

// write puts a new file with those records in the place of f's, if it has one, and
// on the disk. The new one has the same id and another salt, and so another key: no
// record of the old file opens in it. Who opened the old file and gets its lock
// finds that the name is another file's, which was locked before it had the name.
//
// If renamed, the new file is the one in use even if there is an error.
func (f *file) write(records [][]byte) (renamed bool, err error) {
	id, err := hex.DecodeString(f.id)
	if err != nil {
		return false, err
	}
	s, content, err := newSealer(f.disk.key, id)
	if err != nil {
		return false, err
	}
	for i, record := range records {
		content = append(content, frame(s.seal(uint64(i+1), record))...)
	}
	file, err := f.disk.create()
	if err != nil {
		return false, err
	}
	unnamed := file.Name()
	if _, err = file.WriteAt(content, 0); err == nil && f.file != nil {
		// The old one's room must not be lost to others.
		err = reserveRoom(file, int64(len(content))+max(f.disk.keeps(), reserve*(f.pending.unanswered()+1)))
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(unnamed, f.disk.path(f.id))
	}
	if err != nil {
		_ = os.Remove(unnamed)
		_ = release(file)
		return false, err
	}
	if f.file != nil {
		_ = release(f.file)
	}
	f.file, f.out, f.sealer = file, file, s
	f.seq, f.size, f.torn, f.synced = uint64(len(records)), int64(len(content)), false, f.written
	f.compactAt = max(compactSize, 2*f.size)
	return true, f.disk.sync()
}

func lengthOf(records [][]byte) int64 {
	length := int64(headerSize)
	for _, record := range records {
		length += int64(frameSize + sealOverhead + len(record))
	}
	return length
}
