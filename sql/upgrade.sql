-- Turns the original registry, a table addresses(containerAddress, address) in the database
-- ipaddresses, into the one of schema.sql. The rows are kept, and of equal ones one is.
--
--     mariadb < sql/upgrade.sql && mariadb < sql/schema.sql
--
-- (schema.sql then finds the table there and adds the users.) For MariaDB 10.3 and later and for
-- MySQL 8.0.23 and later. It can be run again at any time: each step looks whether it is still to be
-- done, so it also goes on where an interrupted run stopped. Readers and writers may go on
-- meanwhile. A duplicate row that is written during the last step makes that step fail; then run it again.

USE ipaddresses;

-- 1. The columns. They are invisible, so that an INSERT of two values by position stays valid, and
--    `n` only tells equal rows apart until step 3 is done.
SET @todo = (SELECT COUNT(*) = 0 FROM information_schema.COLUMNS
             WHERE TABLE_SCHEMA = 'ipaddresses' AND TABLE_NAME = 'addresses' AND COLUMN_NAME = 'port');
SET @step = IF(@todo, "
    ALTER TABLE addresses
        ADD COLUMN port SMALLINT UNSIGNED NOT NULL DEFAULT 8080 INVISIBLE
            COMMENT 'TCP port of the backend',
        ADD COLUMN weight INT UNSIGNED NOT NULL DEFAULT 1 INVISIBLE
            COMMENT 'share of the requests; 0 gets none',
        ADD COLUMN state ENUM('up', 'drain', 'down') NOT NULL DEFAULT 'up' INVISIBLE
            COMMENT 'only up gets requests; drain: finishing what it has',
        ADD COLUMN backup TINYINT(1) NOT NULL DEFAULT 0 INVISIBLE
            COMMENT '1: gets requests only when no other backend can',
        ADD COLUMN max_conns INT UNSIGNED NOT NULL DEFAULT 0 INVISIBLE
            COMMENT 'most requests at a time; 0: no limit',
        ADD COLUMN zone VARCHAR(64) NULL DEFAULT NULL INVISIBLE
            COMMENT 'where it stands, for people and for the status page',
        ADD COLUMN seen TIMESTAMP(6) NULL DEFAULT NULL INVISIBLE
            COMMENT 'last sign of life of a backend that announces itself; NULL: entered by hand'
    ", "DO 0");
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;

-- 2. What the key of step 3 does not allow: rows without an address, and equal rows.
SET @todo = (SELECT COUNT(*) = 0 FROM information_schema.STATISTICS
             WHERE TABLE_SCHEMA = 'ipaddresses' AND TABLE_NAME = 'addresses' AND INDEX_NAME = 'PRIMARY'
               AND COLUMN_NAME = 'port');

SET @numbered = (SELECT COUNT(*) FROM information_schema.COLUMNS
                 WHERE TABLE_SCHEMA = 'ipaddresses' AND TABLE_NAME = 'addresses' AND COLUMN_NAME = 'n');
SET @step = IF(@todo AND NOT @numbered, "
    ALTER TABLE addresses ADD COLUMN n BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE,
                          ADD UNIQUE KEY n (n)
    ", "DO 0");
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;

SET @step = IF(@todo, "DELETE FROM addresses WHERE address IS NULL OR address = ''", "DO 0");
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;

SET @step = IF(@todo, "
    DELETE later FROM addresses later JOIN addresses earlier
        ON later.address = earlier.address AND later.port = earlier.port AND later.n > earlier.n
    ", "DO 0");
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;

SET @step = IF(@todo, "UPDATE addresses SET containerAddress = '' WHERE containerAddress IS NULL", "DO 0");
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;

-- 3. The key, and room for IPv6 addresses. A key on the address alone may be there already.
SET @keyed = (SELECT COUNT(*) FROM information_schema.STATISTICS
              WHERE TABLE_SCHEMA = 'ipaddresses' AND TABLE_NAME = 'addresses' AND INDEX_NAME = 'PRIMARY');
SET @step = IF(@todo, CONCAT("
    ALTER TABLE addresses
        DROP COLUMN n,", IF(@keyed, "DROP PRIMARY KEY,", ""), "
        MODIFY containerAddress VARCHAR(45) NOT NULL DEFAULT ''
            COMMENT 'for people only: the address inside a container network',
        MODIFY address VARCHAR(45) NOT NULL
            COMMENT 'where requests go: an IPv4 or IPv6 address',
        ENGINE = InnoDB,
        ADD PRIMARY KEY (address, port)
    "), "DO 0");
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;
