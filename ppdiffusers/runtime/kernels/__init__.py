"""Operations whose best implementation depends on the device: layers call them and contain no device policy."""
