/* Writes down what a process does to the files of one folder: preloaded, it stands between libc and everyone.
 *
 * Python's own calls, SQLite's and those of any library pass here, so nothing has to know that it is watched.
 * Recorded are calls that succeed and change files, names or what is durable. A way to change a file that is not
 * recorded (a shared writable mapping, a copy inside the kernel) is written down as UNSEEN, and the reader of the
 * log decides whether it matters. Record: kind (1), lengths of path, second path, data (4 each), inode (8),
 * offset or length (8), then path, second path, data. Little-endian, as the machines that run this are.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, SYNC, SYNC_FOLDER, RENAME, UNLINK, MKDIR, RMDIR, SYMLINK, MARK, UNSEEN, LINK };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char prefix[PATH_MAX];
static unsigned char *journal;
static size_t used, room;

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

static void put(const void *bytes, size_t count)
{
	while (used + count > room) {
		room = room ? 2 * room : 1 << 20;
		journal = realloc(journal, room);
		if (!journal)
			abort();
	}
	memcpy(journal + used, bytes, count);
	used += count;
}

static void record(unsigned char kind, const char *path, const char *second, ino_t inode, uint64_t offset,
		   const void *data, uint32_t count)
{
	uint32_t lengths[3] = { strlen(path), strlen(second), count };
	uint64_t numbers[2] = { inode, offset };
	int kept = errno;

	pthread_mutex_lock(&lock);
	put(&kind, 1);
	put(lengths, sizeof lengths);
	put(numbers, sizeof numbers);
	put(path, lengths[0]);
	put(second, lengths[1]);
	if (count)
		put(data, count);
	pthread_mutex_unlock(&lock);
	errno = kept;
}

/* Begin to record what happens below a folder, an absolute path without links; what was recorded is forgotten. */
void disk_record(const char *folder)
{
	used = 0;
	snprintf(prefix, sizeof prefix, "%s/", folder);
}

void disk_stop(void) { prefix[0] = 0; }

const unsigned char *disk_log(size_t *count)
{
	*count = used;
	return journal;
}

void disk_mark(const char *text) { record(MARK, text, "", 0, 0, NULL, 0); }

static int below(const char *path)
{
	size_t length = strlen(prefix);

	return length && (!strncmp(path, prefix, length) || (!strncmp(path, prefix, length - 1) && !path[length - 1]));
}

/* Absolute path of a name that a call was given; whether it lies below the folder. */
static int locate(int folder, const char *name, char path[PATH_MAX])
{
	char link[64];
	ssize_t length = 0;

	if (!prefix[0] || !name)
		return 0;
	if (name[0] != '/') {
		snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
		length = readlink(link, path, PATH_MAX - 2);
		if (length < 0)
			return 0;
		path[length++] = '/';
	}
	snprintf(path + length, PATH_MAX - length, "%s", name);
	return below(path);
}

/* Path of an open file that lies below the folder, and what it is. */
static int watched(int fd, char path[PATH_MAX], struct stat *what)
{
	char link[64];
	ssize_t length;

	if (!prefix[0])
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, PATH_MAX - 1);
	if (length < 0)
		return 0;
	path[length] = 0;
	return below(path) && !fstat(fd, what) && (S_ISREG(what->st_mode) || S_ISDIR(what->st_mode));
}

static int opened(int fd, const char *path, int flags, int is_new)
{
	struct stat what;

	if (fd < 0 || fstat(fd, &what) || !S_ISREG(what.st_mode))
		return fd;
	if (is_new)
		record(CREATE, path, "", what.st_ino, what.st_mode & 0777, NULL, 0);
	else if (flags & O_TRUNC)
		record(TRUNCATE, path, "", what.st_ino, 0, NULL, 0);
	return fd;
}

#define OPEN(name)                                                                      \
	int name(const char *file, int flags, ...)                                      \
	{                                                                               \
		char path[PATH_MAX];                                                    \
		va_list rest;                                                           \
		mode_t mode;                                                            \
		int ours, is_new;                                                       \
		va_start(rest, flags);                                                  \
		mode = va_arg(rest, mode_t);                                            \
		va_end(rest);                                                           \
		ours = locate(AT_FDCWD, file, path);                                    \
		is_new = ours && (flags & O_CREAT) && access(path, F_OK);               \
		int fd = REAL(name)(file, flags, mode);                                 \
		return ours ? opened(fd, path, flags, is_new) : fd;                     \
	}
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                    \
	int name(int folder, const char *file, int flags, ...)                          \
	{                                                                               \
		char path[PATH_MAX];                                                    \
		va_list rest;                                                           \
		mode_t mode;                                                            \
		int ours, is_new;                                                       \
		va_start(rest, flags);                                                  \
		mode = va_arg(rest, mode_t);                                            \
		va_end(rest);                                                           \
		ours = locate(folder, file, path);                                      \
		is_new = ours && (flags & O_CREAT) && access(path, F_OK);               \
		int fd = REAL(name)(folder, file, flags, mode);                         \
		return ours ? opened(fd, path, flags, is_new) : fd;                     \
	}
OPENAT(openat)
OPENAT(openat64)

static ssize_t written(int fd, const void *data, ssize_t count, off_t offset)
{
	char path[PATH_MAX];
	struct stat what;

	if (count > 0 && watched(fd, path, &what))
		record(WRITE, path, "", what.st_ino, offset, data, count);
	return count;
}

ssize_t write(int fd, const void *data, size_t count)
{
	ssize_t done = REAL(write)(fd, data, count);

	/* Where the file's offset stands afterwards is where this write ended, for O_APPEND as well. */
	return prefix[0] && done > 0 ? written(fd, data, done, lseek(fd, 0, SEEK_CUR) - done) : done;
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t offset)
{
	return written(fd, data, REAL(pwrite)(fd, data, count, offset), offset);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off_t offset)
{
	return written(fd, data, REAL(pwrite64)(fd, data, count, offset), offset);
}

static int truncated(int fd, off_t length, int done)
{
	char path[PATH_MAX];
	struct stat what;

	if (!done && watched(fd, path, &what))
		record(TRUNCATE, path, "", what.st_ino, length, NULL, 0);
	return done;
}

int ftruncate(int fd, off_t length) { return truncated(fd, length, REAL(ftruncate)(fd, length)); }
int ftruncate64(int fd, off_t length) { return truncated(fd, length, REAL(ftruncate64)(fd, length)); }

static int synced(int fd, int done)
{
	char path[PATH_MAX];
	struct stat what;

	if (!done && watched(fd, path, &what))
		record(S_ISDIR(what.st_mode) ? SYNC_FOLDER : SYNC, path, "", what.st_ino, 0, NULL, 0);
	return done;
}

int fsync(int fd) { return synced(fd, REAL(fsync)(fd)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)(fd)); }

static int named(unsigned char kind, int folder, const char *name, const char *second, int done)
{
	char path[PATH_MAX];

	if (!done && locate(folder, name, path))
		record(kind, path, second, 0, 0, NULL, 0);
	return done;
}

int unlink(const char *name) { return named(UNLINK, AT_FDCWD, name, "", REAL(unlink)(name)); }
int rmdir(const char *name) { return named(RMDIR, AT_FDCWD, name, "", REAL(rmdir)(name)); }
int mkdir(const char *name, mode_t mode) { return named(MKDIR, AT_FDCWD, name, "", REAL(mkdir)(name, mode)); }

int unlinkat(int folder, const char *name, int flags)
{
	int kind = flags & AT_REMOVEDIR ? RMDIR : UNLINK;

	return named(kind, folder, name, "", REAL(unlinkat)(folder, name, flags));
}

int symlink(const char *target, const char *name)
{
	return named(SYMLINK, AT_FDCWD, name, target, REAL(symlink)(target, name));
}

int rename(const char *old, const char *new)
{
	char target[PATH_MAX];
	int done = REAL(rename)(old, new);

	return named(RENAME, AT_FDCWD, old, locate(AT_FDCWD, new, target) ? target : "", done);
}

int link(const char *old, const char *new)
{
	char target[PATH_MAX];
	int done = REAL(link)(old, new);

	return named(LINK, AT_FDCWD, old, locate(AT_FDCWD, new, target) ? target : "", done);
}

/* Ways past this file. */

static void unseen(int fd, const char *how)
{
	char path[PATH_MAX];
	struct stat what;

	if (watched(fd, path, &what))
		record(UNSEEN, path, how, what.st_ino, 0, NULL, 0);
}

#define MAP(name, offset_type)                                                                      \
	void *name(void *at, size_t length, int protection, int flags, int fd, offset_type offset)  \
	{                                                                                           \
		if (fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE))                   \
			unseen(fd, #name);                                                          \
		return REAL(name)(at, length, protection, flags, fd, offset);                       \
	}
MAP(mmap, off_t)
MAP(mmap64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	unseen(fd, "writev");
	return REAL(writev)(fd, parts, count);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
	unseen(fd, "pwritev");
	return REAL(pwritev)(fd, parts, count, offset);
}

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t length, unsigned flags)
{
	unseen(to, "copy_file_range");
	return REAL(copy_file_range)(from, from_offset, to, to_offset, length, flags);
}

int renameat(int old_folder, const char *old, int folder, const char *new)
{
	return named(UNSEEN, folder, new, "renameat", REAL(renameat)(old_folder, old, folder, new));
}
